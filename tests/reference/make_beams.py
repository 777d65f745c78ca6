"""transformers' beam search of random prompts, on the tiny checkpoints of make_models.py.

Writes tests/golden/data/modes/beams.json: one case per line, with the reference's own margin (the
smallest distance between two numbers whose order mattered), which separates near ties from
differences.
"""

import random

import torch
from common import output_folder, versions, write_rows
from make_models import build
from safetensors.torch import load_file
from transformers import GenerationConfig

SEED, CASES_PER_MODEL = 20261124, 36
MODELS = ("published", "instruct", "no_resampler", "vector_gates", "interval_three", "tied", "no_added_tokens", "odd_widths")


class Case:
    """A random batch: rows of ids, pictures from a pool, and the picture that each token sees."""

    def __init__(self, rng, model, pool, most_rows=3, longest=7, least_rows=1):
        self.vocabulary = model.config.vocab_size  # repaired: includes added tokens
        self.rows = []
        for _ in range(rng.randint(least_rows, most_rows)):
            images = [rng.randrange(len(pool)) for _ in range(rng.choice((0, 1, 1, 2)))]
            seen, at = [], -1
            for _ in range(rng.randint(2, longest)):
                at = min(at + (rng.random() < 0.5), len(images) - 1)
                seen.append(at)
            self.rows.append(dict(ids=[rng.randrange(3, self.vocabulary) for _ in seen], images=images, seen=seen))
        self.pool = pool

    def inputs(self):
        b, t = len(self.rows), max(len(r["ids"]) for r in self.rows)
        n = max(1, max(len(r["images"]) for r in self.rows))
        ids, mask = torch.zeros(b, t, dtype=torch.long), torch.zeros(b, t, dtype=torch.long)
        seen, pixels = torch.zeros(b, t, n, dtype=torch.long), torch.zeros(b, n, *self.pool.shape[1:])
        for i, row in enumerate(self.rows):
            first = t - len(row["ids"])
            ids[i, first:], mask[i, first:] = torch.tensor(row["ids"]), 1
            for j, picture in enumerate(row["seen"]):
                if picture >= 0:
                    seen[i, first + j, picture] = 1
            for j, picture in enumerate(row["images"]):
                pixels[i, j] = self.pool[picture]
        return dict(input_ids=ids, attention_mask=mask, pixel_values=pixels, image_attention_mask=seen)

    def width(self):
        return max(len(r["ids"]) for r in self.rows)


def load(name):
    """The model, repaired for beam search (vocab_size lacks the added tokens), and its pictures."""
    model, _ = build(name)
    model.config.vocab_size += model.config.additional_vocab_size
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=2, pad_token_id=0)
    folder = output_folder() / "models" / name
    return model, load_file(folder / "greedy_pool.safetensors")["pool"]


class Margins:
    """Observes a beam search and keeps the smallest distance of neighbours that it ordered."""

    def __init__(self, model):
        self.least = 1e9
        candidates, finished = model._get_top_k_continuations, model._update_finished_beams

        def watch_candidates(**kw):
            self.see(kw["accumulated_log_probs"].topk(min(kw["beams_to_keep"] + 1, kw["accumulated_log_probs"].shape[1])).values)
            return candidates(**kw)

        def watch_finished(**kw):
            out = finished(**kw)
            penalized = kw["topk_log_probs"] / (kw["cur_len"] + 1 - kw["decoder_prompt_len"]) ** kw["length_penalty"]
            self.see(torch.cat((kw["beam_scores"], penalized), 1).sort(descending=True).values)
            return out

        model._get_top_k_continuations, model._update_finished_beams = watch_candidates, watch_finished

    def see(self, descending):
        gaps = (descending[:, :-1] - descending[:, 1:])[descending[:, 1:] > -1e8]
        if len(gaps):
            self.least = min(self.least, float(gaps[gaps > 0].min()) if (gaps > 0).any() else 1e9)


def likely_ends(rng, model, inputs, beams):
    """Ids that unrestricted beam search chooses: as end tokens they end beams early and often."""
    free = model.generate(**inputs, num_beams=max(2, beams), num_return_sequences=max(2, beams), max_new_tokens=7, eos_token_id=None)
    ids = free[:, inputs["input_ids"].shape[1] + 1 :].flatten().tolist()
    return sorted(set(rng.sample(ids, rng.randint(1, 3))))


def random_ids(rng, vocabulary, count):
    return sorted(rng.sample(range(3, vocabulary), count))


def random_processors(rng, vocabulary, ends, beams):
    """No processor for half of the cases, one or two for the others."""
    choices = {
        "repetition_penalty": lambda: rng.choice((1.3, 0.8)),
        "encoder_repetition_penalty": lambda: 1.2,
        "no_repeat_ngram_size": lambda: rng.choice((1, 2)),
        "bad_words_ids": lambda: [random_ids(rng, vocabulary, rng.choice((1, 1, 2))) for _ in range(12)],
        "min_new_tokens": lambda: rng.randint(2, 4),
        "sequence_bias": lambda: [[random_ids(rng, vocabulary, 1), rng.choice((2.5, -2.5))] for _ in range(6)],
        "suppress_tokens": lambda: random_ids(rng, vocabulary, 25),
        "begin_suppress_tokens": lambda: random_ids(rng, vocabulary, 40),
        "forced_eos_token_id": lambda: ends[0],
        "exponential_decay_length_penalty": lambda: [1, 1.4],
        "renormalize_logits": lambda: True,
    }
    if beams > 1:  # the reference applies it only to the first beams, one per prompt
        del choices["encoder_repetition_penalty"]
    names = rng.sample(sorted(choices), rng.choice((0, 0, 1, 2)))
    return {name: choices[name]() for name in names}


@torch.no_grad()
def record(name, rng, cases):
    model, pool = load(name)
    margins = Margins(model)
    for i in range(CASES_PER_MODEL):
        beams = (1, 2, 3, 4, 5, 2, 3, 4, 5)[i % 9]
        case = Case(rng, model, pool)
        inputs = case.inputs()
        ends = likely_ends(rng, model, inputs, beams)
        options = dict(num_beams=beams, eos_token_id=ends, pad_token_id=rng.choice((0, 0, 5)), max_new_tokens=rng.randint(4, 9))
        if beams > 1:
            options |= dict(early_stopping=(False, True, "never")[i % 3], length_penalty=rng.choice((1.0, 1.0, 0.0, -1.0, 2.0, 0.5)),
                            num_return_sequences=rng.randint(1, beams))
        options |= random_processors(rng, case.vocabulary, ends, beams)
        margins.least = 1e9
        out = model.generate(**inputs, **options, do_sample=False, output_scores=True, output_logits=True, return_dict_in_generate=True)
        if beams > 1 and not out.sequences_scores.isfinite().all():  # infinity minus infinity in two processors
            continue
        recorded = dict(model=name, rows=case.rows, options=options, new_tokens=out.sequences[:, case.width() :].tolist())
        if beams > 1:
            recorded |= dict(scores=[round(x, 6) for x in out.sequences_scores.tolist()], beam_indices=out.beam_indices.tolist(),
                             margin=round(margins.least, 7))
        else:
            best = torch.stack([step.topk(2).values for step in out.scores])
            recorded["margin"] = round(min(float((best[..., 0] - best[..., 1]).min()), 1e9), 7)
        cases.append(recorded)


def main():
    torch.set_num_threads(1)
    rng, cases = random.Random(SEED), []
    for name in MODELS:
        record(name, rng, cases)
        print(name, flush=True)
    folder = output_folder() / "modes"
    write_rows(folder / "beams.json", dict(versions=versions(), seed=SEED), "cases", cases)
    early = sum(len(row) < case["options"]["max_new_tokens"] for case in cases for row in case["new_tokens"])
    print(len(cases), "cases,", early, "of", sum(len(c["new_tokens"]) for c in cases), "rows cut early")


if __name__ == "__main__":
    main()
