"""transformers' beam sampling of random prompts, and what beam search returns for every step.

Writes tests/golden/data/modes/beam_samples.json and beam_scores.json. torch.multinomial, whose
draws no other library can reproduce, is replaced by sequential draws from the same distribution,
with the random numbers of idefics/core/random.hpp; everything else is transformers'.
beam_samples.json records the distribution from which the first step of each batch's first prompt
draws (`first`, ids and probabilities), beam_scores.json the scores and logits of every returned
row's own beam.
"""

import random

import torch
from common import output_folder, versions, write_rows
from make_beams import Case, Margins, likely_ends, load, random_processors

SEED = 20261126
MODELS = ("published", "instruct", "no_resampler", "tied", "no_added_tokens", "odd_widths")
LOW = (1 << 32) - 1


def philox(counter, key):
    """Philox4x32-10."""
    c, k = list(counter), list(key)
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [b >> 32 ^ c[1] ^ k[0], b & LOW, a >> 32 ^ c[3] ^ k[1], a & LOW]
        k = [(k[0] + 0x9E3779B9) & LOW, (k[1] + 0xBB67AE85) & LOW]
    return c


def uniform(seed, step, draw):
    bits = philox((step, draw, 0, 0), (seed & LOW, seed >> 32))
    return ((bits[0] << 21) ^ (bits[1] >> 11)) * 2.0**-53


class Draws:
    """Replaces torch.multinomial during one generate, and records how close draws were to others."""

    def __init__(self, seed, margins):
        self.seed, self.step, self.margins, self.first = seed, 0, margins, None

    def __enter__(self):
        self.multinomial, torch.multinomial = torch.multinomial, self.draw
        return self

    def __exit__(self, *_):
        torch.multinomial = self.multinomial

    def draw(self, probabilities, num_samples):
        if self.first is None:
            self.first = probabilities[0].clone()
        drawn = [self.draw_row(row.double(), num_samples) for row in probabilities]
        self.step += 1
        return torch.tensor(drawn)

    def draw_row(self, p, count):
        drawn = []
        for i in range(count):
            sums = p.cumsum(0)
            if not sums[-1] > 0:
                raise ValueError("nothing is left to draw")
            u = uniform(self.seed, self.step, i) * sums[-1]
            self.margins.least = min(self.margins.least, float((sums - u).abs().min() / sums[-1]))
            drawn.append(int((sums > u).nonzero()[0]))
            p[drawn[-1]] = 0
        return drawn


WARPERS = (
    lambda r: {},
    lambda r: {"temperature": round(r.uniform(0.3, 2.5), 2)},
    lambda r: {"top_k": r.choice((20, 1000))},
    lambda r: {"top_k": 0, "top_p": round(r.uniform(0.6, 0.99), 2)},
    lambda r: {"top_k": 0, "min_p": round(r.uniform(0.001, 0.1), 3)},
    lambda r: {"top_k": 0, "typical_p": round(r.uniform(0.6, 0.98), 2)},
    lambda r: {"top_k": 0, "epsilon_cutoff": round(r.uniform(0.0005, 0.005), 4)},
    lambda r: {"top_k": 0, "eta_cutoff": round(r.uniform(0.0005, 0.05), 4)},
    lambda r: {"temperature": 1.5, "top_k": 60, "top_p": 0.97, "renormalize_logits": True},
)


def beam_options(rng, model, case, inputs, i):
    beams = (2, 3, 4, 5)[i % 4]
    ends = likely_ends(rng, model, inputs, beams)
    return ends, dict(num_beams=beams, num_return_sequences=rng.randint(1, beams), early_stopping=(False, True, "never")[i % 3],
                      length_penalty=rng.choice((1.0, 1.0, 0.0, 2.0, 0.5)), eos_token_id=ends, pad_token_id=rng.choice((0, 5)),
                      max_new_tokens=rng.randint(4, 8))


def result(name, case, options, out, margin):
    return dict(model=name, rows=case.rows, options=options, new_tokens=out.sequences[:, case.width() :].tolist(),
                scores=[round(x, 6) for x in out.sequences_scores.tolist()], beam_indices=out.beam_indices.tolist(),
                margin=round(margin, 7))


def samples(name, rng, cases):
    model, pool = load(name)
    margins = Margins(model)
    for i in range(18):
        case = Case(rng, model, pool)
        inputs = case.inputs()
        ends, options = beam_options(rng, model, case, inputs, i)
        options |= WARPERS[i % len(WARPERS)](rng)
        if i % 2:
            options |= random_processors(rng, case.vocabulary, ends, options["num_beams"])
            options.pop("forced_eos_token_id", None)  # allows only one token to draw several from
        seed, margins.least = rng.getrandbits(63), 1e9
        with Draws(seed, margins) as draws:
            try:
                out = model.generate(**inputs, **options, do_sample=True, output_scores=True, return_dict_in_generate=True)
            except ValueError:
                continue
        recorded = result(name, case, options | dict(do_sample=True, seed=seed), out, margins.least)
        if i < 9:
            recorded["first"] = [[j, round(p, 8)] for j, p in enumerate(draws.first.tolist()) if p > 0]
        cases.append(recorded)


def steps(name, rng, cases):
    model, pool = load(name)
    margins = Margins(model)
    for i in range(6):
        case = Case(rng, model, pool)
        inputs = case.inputs()
        ends, options = beam_options(rng, model, case, inputs, i)
        options |= dict(max_new_tokens=4)
        if i % 2:
            options |= {"repetition_penalty": 1.3, "bad_words_ids": [[7], [9]]}
        margins.least = 1e9
        out = model.generate(**inputs, **options, do_sample=False, output_scores=True, output_logits=True, return_dict_in_generate=True)
        recorded = result(name, case, options, out, margins.least)
        chosen = model.compute_transition_scores(out.sequences, out.scores, out.beam_indices, normalize_logits=False)
        recorded["transition_scores"] = [[round(x, 6) for x in row] for row in chosen.tolist()]
        for key, kept in (("step_scores", out.scores), ("step_logits", out.logits)):
            recorded[key] = [[[round(x, 5) for x in kept[t][beam].tolist()[:: 9]] for t, beam in enumerate(row) if beam >= 0]
                             for row in out.beam_indices.tolist()]  # every ninth
        for rows in recorded["step_scores"]:
            for step in rows:
                step[:] = [x if x > -1e30 else -1e30 for x in step]
        cases.append(recorded)


@torch.no_grad()
def main():
    torch.set_num_threads(1)
    for file, make in (("beam_samples", samples), ("beam_scores", steps)):
        rng, cases = random.Random(f"{SEED} {file}"), []
        for name in MODELS:
            make(name, rng, cases)
            print(file, name, len(cases), flush=True)
        write_rows(output_folder() / "modes" / f"{file}.json", dict(versions=versions(), seed=SEED), "cases", cases)


if __name__ == "__main__":
    main()
