"""What the last transformers releases that had them made of group beams, constrained beams, contrastive search and DoLa.

4.56.2 was the last with group and constrained beam search in the package, 4.55.4 the last with contrastive search and
DoLa. Run this once with each; it writes tests/golden/data/modes/{groups,constrained}.json or {contrastive,dola}.json.
"""

import math
import random

import torch
import transformers
from common import output_folder, versions, write_rows
from make_beams import Case, likely_ends, load, random_ids, random_processors
from transformers.generation import utils

SEED = 20261125
MODELS = ("published", "instruct", "no_resampler", "vector_gates", "tied", "odd_widths")


class Margin:
    """The least distance between neighbours that torch.topk ordered, or that `see` was shown."""

    def __enter__(self):
        self.least, self.topk = 1e9, torch.topk
        torch.topk = self.watch
        return self

    def __exit__(self, *_):
        torch.topk = self.topk

    def watch(self, scores, *args, **kw):
        found = self.topk(scores, *args, **kw)
        k = found.values.shape[-1]
        self.see(self.topk(scores, min(k + 1, scores.shape[-1]), dim=-1).values)
        return found

    def see(self, descending):
        gaps = (descending[..., :-1] - descending[..., 1:])[descending[..., 1:] > -1e8]
        if (gaps > 0).any():
            self.least = min(self.least, float(gaps[gaps > 0].min()))


def beam_options(rng, beams, i):
    return dict(num_beams=beams, early_stopping=(False, True, "never")[i % 3], num_return_sequences=rng.randint(1, beams),
                length_penalty=rng.choice((1.0, 1.0, 0.0, -1.0, 2.0)))


def groups(rng, i, vocabulary):
    beams, count = ((2, 2), (4, 2), (6, 3), (4, 4), (6, 2))[i % 5]
    return beam_options(rng, beams, i) | dict(num_beam_groups=count, diversity_penalty=rng.choice((0.1, 0.5, 1.0, 3.0)))


def constrained(rng, i, vocabulary):
    phrase = lambda most=3: [rng.randrange(3, vocabulary) for _ in range(rng.randint(1, most))]
    words = []
    for _ in range(rng.choice((1, 1, 2))):
        starts = rng.sample(range(3, vocabulary), 3)
        choice = [[start] + phrase(2) for start in starts[: rng.randint(2, 3)]]
        if rng.random() < 0.4:  # two that begin alike
            choice.append([starts[0], (choice[0][1] - 2) % (vocabulary - 3) + 3])
        words.append(phrase() if rng.random() < 0.5 else choice)
    return beam_options(rng, 2 + i % 4, i) | dict(force_words_ids=words)


def contrastive(rng, i, vocabulary):
    return dict(penalty_alpha=rng.choice((0.2, 0.4, 0.6, 0.8)), top_k=rng.randint(2, 6))


def dola(rng, i, vocabulary):
    return dict(dola_layers=("low", "high", [0, 1], [2], [1, 3])[i % 5])


RELEASES = {"4.56.2": (groups, constrained), "4.55.4": (contrastive, dola)}
CASES_PER_MODEL = {"groups": 15, "constrained": 16, "contrastive": 12, "dola": 12}


def repair(model):
    """Contrastive search rebuilds the output of a step and forgets the pictures' hidden states."""
    update = model._update_model_kwargs_for_generation

    def keep(outputs, model_kwargs, **kw):
        if "image_hidden_states" not in outputs:
            outputs.image_hidden_states = model_kwargs["image_hidden_states"]
        return update(outputs, model_kwargs, **kw)

    model._update_model_kwargs_for_generation = keep


def watch_ranking(margin):
    ranking = utils._ranking_fast

    def watch(context, following, probabilities, mask, alpha, width):
        a = context / context.norm(dim=2, keepdim=True)
        b = following / following.norm(dim=2, keepdim=True)
        similar = torch.matmul(a, b.transpose(1, 2)).squeeze(-1).masked_fill(mask == 0, -1e9).max(-1).values
        score = (1 - alpha) * probabilities.view(-1) - alpha * similar
        margin.see(score.view(-1, width).sort(descending=True).values[:, :2])
        return ranking(context, following, probabilities, mask, alpha, width)

    utils._ranking_fast = watch
    return lambda: setattr(utils, "_ranking_fast", ranking)


def watch_scores(kept):
    """Keeps the scores of hypotheses. (With output_scores the reference fails where a constraint was not fulfilled.)"""
    for scorer in (utils.BeamSearchScorer, utils.ConstrainedBeamSearchScorer):

        def watch(self, *args, finalize=scorer.finalize, **kw):
            out = finalize(self, *args, **kw)
            kept[:] = [round(x, 6) for x in out["sequence_scores"].tolist()]
            return out

        scorer.finalize = watch


@torch.no_grad()
def record(mode, name, rng, cases, scores):
    model, pool = load(name)
    repair(model)
    for i in range(CASES_PER_MODEL[mode.__name__]):
        # DoLa chooses one layer for a whole batch: a batch of one is what can be compared
        case = Case(rng, model, pool, most_rows=1 if mode is dola else 3)
        inputs, options = case.inputs(), mode(rng, i, case.vocabulary)
        ends = likely_ends(rng, model, inputs, options.get("num_beams", 2))
        options |= dict(eos_token_id=ends, pad_token_id=rng.choice((0, 0, 5)), max_new_tokens=rng.randint(4, 9))
        options |= random_processors(rng, case.vocabulary, ends, options.get("num_beams", 1))
        if mode in (groups, constrained):
            options.pop("forced_eos_token_id", None)
        asked = dict(options)
        with Margin() as margin:
            restore = watch_ranking(margin) if mode is contrastive else None
            out = model.generate(**inputs, **asked, do_sample=False, output_scores=mode is dola, return_dict_in_generate=True)
            if restore:
                restore()
            if mode is dola:
                margin.see(torch.stack([step.topk(2).values for step in out.scores]))
        if not all(map(math.isfinite, scores)):  # nothing allowed was left, or infinity minus infinity
            continue
        recorded = dict(model=name, rows=case.rows, options=options, new_tokens=out.sequences[:, case.width() :].tolist(),
                        margin=round(margin.least, 7))
        if mode in (groups, constrained):
            recorded["scores"] = list(scores)
        cases.append(recorded)


def main():
    torch.set_num_threads(1)
    scores = []
    if "4.56" in transformers.__version__:
        watch_scores(scores)
    for mode in RELEASES[transformers.__version__]:
        rng, cases = random.Random(f"{SEED} {mode.__name__}"), []
        for name in MODELS:
            record(mode, name, rng, cases, scores)
            print(mode.__name__, name, flush=True)
        write_rows(output_folder() / "modes" / f"{mode.__name__}.json", dict(versions=versions(), seed=SEED), "cases", cases)


if __name__ == "__main__":
    main()
