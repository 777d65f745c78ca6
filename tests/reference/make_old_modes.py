"""Group beams, constrained beams, contrastive search and DoLa of older transformers releases.

4.56.2 was the last release with group and constrained beam search in the package, 4.55.4 the last
with contrastive search and DoLa. Run this script once with each: it writes
tests/golden/data/modes/{groups,constrained}.json or {contrastive,dola}.json.
"""

import math
import random
from pathlib import Path

import torch
import transformers
from common import output_folder, versions, write_rows
from make_beams import Case, likely_ends, load, random_ids, random_processors
from transformers import LlamaTokenizerFast
from transformers.generation import utils
from transformers.generation.logits_process import LogitsProcessorList
from transformers.generation.stopping_criteria import StoppingCriteria, StopStringCriteria

SEED = 20261125
MODELS = ("published", "instruct", "no_resampler", "vector_gates", "tied", "odd_widths")


class Margin:
    """The smallest distance of neighbours that torch.topk ordered, or that were passed to `see`."""

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
        if rng.random() < 0.4:  # two phrases with the same first token
            choice.append([starts[0], (choice[0][1] - 2) % (vocabulary - 3) + 3])
        words.append(phrase() if rng.random() < 0.5 else choice)
    return beam_options(rng, 2 + i % 4, i) | dict(force_words_ids=words)


def least_tokens(words):
    return sum(min(len(phrase) for phrase in (word if isinstance(word[0], list) else [word])) for word in words)


def contrastive(rng, i, vocabulary):
    return dict(penalty_alpha=rng.choice((0.1, 0.2, 0.4, 0.6, 0.8, 0.9)), top_k=rng.choice((2, 3, 4, 5, 6, 20)))


def dola(rng, i, vocabulary):
    return dict(dola_layers=("low", [0, 1], "high", [0, 1, 2, 3], [1, 3], [2], [3, 0], [1, 2, 9])[i % 8])


RELEASES = {"4.56.2": (groups, constrained), "4.55.4": (contrastive, dola)}
CASES_PER_MODEL = {"groups": 15, "constrained": 16, "contrastive": 21, "dola": 24}


def repair(model):
    """Contrastive search rebuilds the output of a step and drops the hidden states of pictures,
    which IDEFICS reads from it."""
    update = model._update_model_kwargs_for_generation

    def keep(outputs, model_kwargs, **kw):
        if "image_hidden_states" not in outputs:
            outputs.image_hidden_states = model_kwargs["image_hidden_states"]  # one per candidate after the first step
        return update(outputs, model_kwargs, **kw)

    model._update_model_kwargs_for_generation = keep


def watch_ranking(margin):
    """A second repair: where processors allow fewer than top_k tokens, forbidden ones fill up the
    candidates, and can win."""
    ranking = utils._ranking_fast

    def watch(context, following, probabilities, mask, alpha, width):
        probabilities = probabilities.masked_fill(probabilities == 0, -math.inf)
        a = context / context.norm(dim=2, keepdim=True)
        b = following / following.norm(dim=2, keepdim=True)
        similar = torch.matmul(a, b.transpose(1, 2)).squeeze(-1).masked_fill(mask == 0, -1e9).max(-1).values
        score = (1 - alpha) * probabilities.view(-1) - alpha * similar
        margin.see(score.view(-1, width).sort(descending=True).values[:, :2])
        return ranking(context, following, probabilities, mask, alpha, width)

    utils._ranking_fast = watch
    return lambda: setattr(utils, "_ranking_fast", ranking)


def watch_layers(margin):
    """Records whether every row would have chosen the layer that the batch chose, and how close its
    choices were to others."""
    select = utils._dola_select_contrast
    margin.agree = True

    def watch(layers, premature, final):
        mature, rows = final.log_softmax(-1), []
        for layer in layers:
            early = premature[layer].log_softmax(-1)
            mean = (mature.exp() + early.exp()) / 2
            rows.append((mean * (2 * mean.log() - mature - early)).sum(-1) / 2)
        divergence = torch.stack(rows)  # [layers, M]
        margin.see(divergence.sort(dim=0, descending=True).values[:2].T)
        if len(set(divergence.argmax(0).tolist()) | {int(divergence.mean(1).argmax())}) > 1:
            margin.agree = False
        margin.least = min(margin.least, float((mature - mature.amax(-1, keepdim=True) - math.log(0.1)).abs().min()))
        return select(layers, premature, final)

    utils._dola_select_contrast = watch
    return lambda: setattr(utils, "_dola_select_contrast", select)


def watch_scores(kept):
    """Keeps the scores of hypotheses. (With output_scores the reference fails if a constraint was
    not fulfilled.)"""
    for scorer in (utils.BeamSearchScorer, utils.ConstrainedBeamSearchScorer):

        def watch(self, *args, finalize=scorer.finalize, **kw):
            out = finalize(self, *args, **kw)
            kept[:] = [round(x, 6) for x in out["sequence_scores"].tolist()]
            return out

        scorer.finalize = watch


class StepScores:
    """The highest processed score of every beam and step, unordered: the groups of a prompt are
    processed one by one."""

    def __init__(self, prompts):
        self.prompts, self.steps = prompts, {}

    def __enter__(self):
        self.process = process = LogitsProcessorList.__call__

        def watch(processors, input_ids, scores, **kw):
            out = process(processors, input_ids, scores, **kw)
            best = out.amax(-1).view(self.prompts, -1).tolist()
            step = self.steps.setdefault(input_ids.shape[1], [[] for _ in best])
            for prompt, found in zip(step, best):
                prompt.extend(round(x, 5) for x in found)
            return out

        LogitsProcessorList.__call__ = watch
        return self

    def __exit__(self, *_):
        LogitsProcessorList.__call__ = self.process

    def finite(self):
        return all(math.isfinite(x) for step in self.steps.values() for prompt in step for x in prompt)


class FromId(StoppingCriteria):
    """A row ends when its last id is not below `first`."""

    def __init__(self, first):
        self.first = first

    def __call__(self, input_ids, scores, **kw):
        return input_ids[:, -1] >= self.first


class StopStrings:
    """Stop strings from the texts that the embedded checkpoint's tokenizer has for the ids, which
    are single bytes in these models."""

    def __init__(self):
        self.tokenizer = LlamaTokenizerFast.from_pretrained(Path(__file__).resolve().parents[2] / "samples" / "tiny")
        self.texts = dict(zip(*reversed(StopStringCriteria.clean_tokenizer_vocab(self.tokenizer))))

    def single(self, rng, vocabulary):
        """Most printable characters: all beams are likely to end with one at the same time."""
        return [self.texts[i] for i in range(35, vocabulary) if rng.random() < 0.8]

    def pairs(self, rng, model, inputs, options):
        """The last two characters of each beam after some steps: they span tokens, and end all
        beams at once."""
        free = options | dict(max_new_tokens=rng.randint(2, 4), num_return_sequences=options["num_beams"])
        rows = model.generate(**inputs, **free, do_sample=False)
        return sorted({"".join(self.texts[i] for i in row[-2:]) for row in rows.tolist()})


@torch.no_grad()
def record(mode, name, rng, cases, scores, count, stops=False):
    """`stops`, True or "strings", adds criteria other than end tokens and lengths. The reference
    applies them to a whole batch, so these cases have one prompt each."""
    model, pool = load(name)
    repair(model)
    strings = StopStrings() if stops == "strings" else None
    watchers = {contrastive: watch_ranking, dola: watch_layers}
    for i in range(count):
        case = Case(rng, model, pool, most_rows=1 if stops else 3)
        inputs, options = case.inputs(), mode(rng, i, case.vocabulary)
        ends = likely_ends(rng, model, inputs, options.get("num_beams", 2))
        options |= dict(eos_token_id=ends, pad_token_id=rng.choice((0, 0, 5)), max_new_tokens=rng.randint(4, 9))
        options |= random_processors(rng, case.vocabulary, ends, options.get("num_beams", 1))
        if mode in (groups, constrained):
            options.pop("forced_eos_token_id", None)
        if least_tokens(options.get("force_words_ids", [])) > options["max_new_tokens"]:  # we refuse phrases that do not fit
            continue
        stop_from = rng.randrange(3, case.vocabulary * 2 // 3) if stops is True and i % 3 < 2 else None
        if stops is True and i % 3 == 2:
            options["max_time"] = 0.0
        if strings:
            found = strings.single(rng, case.vocabulary) if i % 2 else strings.pairs(rng, model, inputs, options)
            options["stop_strings"] = [s for s in found if "\0" not in s]
        asked = options | ({} if stop_from is None else dict(stopping_criteria=[FromId(stop_from)]))
        if strings:
            asked["tokenizer"] = strings.tokenizer
        with Margin() as margin, StepScores(len(case.rows)) as steps:
            restore = watchers.get(mode, lambda margin: lambda: None)(margin)
            out = model.generate(**inputs, **asked, do_sample=False, output_scores=mode in watchers, return_dict_in_generate=True)
            restore()
            if mode is dola:
                margin.see(torch.stack([step.topk(2).values for step in out.scores]))
        # DoLa chooses one layer for a whole batch: where rows disagree, a batch cannot be compared
        if mode is dola and not margin.agree:
            continue
        best_scores = [[round(x, 5) for x in step.amax(-1).tolist()] for step in out.scores or ()]
        if not all(map(math.isfinite, [*scores, *sum(best_scores, [])])):  # no allowed token was left, or infinity minus infinity
            continue
        recorded = dict(model=name, rows=case.rows, options=options, new_tokens=out.sequences[:, case.width() :].tolist(),
                        margin=round(margin.least, 7))
        if mode in (groups, constrained):
            recorded["scores"] = list(scores)
            if stop_from is not None:
                recorded["stop_from"] = stop_from
            if i % 3 == 0 and steps.finite():
                recorded["beam_scores"] = list(steps.steps.values())
        else:
            recorded["best_scores"] = best_scores
        cases.append(recorded)


def main():
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    scores = []
    if "4.56" in transformers.__version__:
        watch_scores(scores)
    for mode in RELEASES[transformers.__version__]:
        rng, cases = random.Random(f"{SEED} {mode.__name__}"), []
        for name in MODELS:
            record(mode, name, rng, cases, scores, CASES_PER_MODEL[mode.__name__])
            print(mode.__name__, name, flush=True)
        rng = random.Random(f"{SEED} {mode.__name__} stops")
        for name in MODELS[:4] if mode in (groups, constrained) else ():
            record(mode, name, rng, cases, scores, 9, stops=True)
        rng = random.Random(f"{SEED} {mode.__name__} stop strings")
        for name in MODELS[:4] if mode in (groups, constrained) else ():
            record(mode, name, rng, cases, scores, 10, stops="strings")
        write_rows(output_folder() / "modes" / f"{mode.__name__}.json", dict(versions=versions(), seed=SEED), "cases", cases)


if __name__ == "__main__":
    main()
