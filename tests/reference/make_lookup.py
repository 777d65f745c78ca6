"""Guesses of transformers' PromptLookupCandidateGenerator after random, repetitive rows of ids, and
the numbers of guessed and accepted tokens of assisted decoding, pass by pass.

Writes tests/golden/data/modes/{lookup,rounds}.json: one case per line.
"""

import random

import torch
from common import GOLDEN, output_folder, versions, write_rows
from make_beams import Case
from safetensors.torch import load_file
from transformers import GenerationConfig, IdeficsForVisionText2Text
from transformers.generation.candidate_generator import AssistedCandidateGenerator, PromptLookupCandidateGenerator
from transformers.generation.logits_process import (
    LogitsProcessorList,
    NoBadWordsLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    SuppressTokensLogitsProcessor,
)

SEED, CASES, VOCABULARY = 20261126, 600, 40


def random_processors(rng, eos):
    """Options that forbid tokens, and the corresponding processors."""
    options, processors = {}, LogitsProcessorList()
    if rng.random() < 0.2:
        options["no_repeat_ngram_size"] = rng.randint(2, 4)
        processors.append(NoRepeatNGramLogitsProcessor(options["no_repeat_ngram_size"]))
    if rng.random() < 0.2:
        options["bad_words_ids"] = [[rng.randrange(3, 12) for _ in range(rng.randint(1, 2))] for _ in range(2)]
        processors.append(NoBadWordsLogitsProcessor(options["bad_words_ids"], eos_token_id=eos))
    if rng.random() < 0.2:
        options["suppress_tokens"] = sorted(rng.sample(range(3, 12), 2))
        processors.append(SuppressTokensLogitsProcessor(options["suppress_tokens"]))
    return options, processors or None


def record(rng):
    alphabet = rng.randint(2, 9)
    ids = [3 + rng.randrange(alphabet) for _ in range(rng.randint(1, 40))]
    eos = sorted(rng.sample(range(3, 12), rng.choice((1, 1, 2)))) if rng.random() < 0.6 else [2]
    tokens, ngram, room = rng.randint(1, 9), rng.randint(1, 4), rng.randint(0, 12)
    options, processors = random_processors(rng, eos)
    generator = PromptLookupCandidateGenerator(torch.tensor(eos), tokens, ngram, len(ids) + room + 1, processors, VOCABULARY)
    found, _ = generator.get_candidates(torch.tensor([ids]))
    options |= dict(prompt_lookup_num_tokens=tokens, max_matching_ngram_size=ngram, eos_token_id=eos)
    return dict(ids=ids, room=room, options=options, guess=found[0, len(ids) :].tolist())


class Rounds:
    """Guessed and accepted tokens of every pass of assisted decoding."""

    def __enter__(self):
        self.passes, self.classes = [], (AssistedCandidateGenerator, PromptLookupCandidateGenerator)
        self.methods = [(c.get_candidates, c.update_candidate_strategy) for c in self.classes]
        for generator, (guess, learn) in zip(self.classes, self.methods):
            generator.get_candidates, generator.update_candidate_strategy = self.watch(guess, learn)
        return self

    def __exit__(self, *_):
        for generator, (guess, learn) in zip(self.classes, self.methods):
            generator.get_candidates, generator.update_candidate_strategy = guess, learn

    def watch(self, guess, learn):
        def get_candidates(generator, input_ids):
            found = guess(generator, input_ids)
            self.passes.append([found[0].shape[1] - input_ids.shape[1], 0])
            return found

        def update_candidate_strategy(generator, input_ids, scores, matches):
            self.passes[-1][1] = int(matches)
            return learn(generator, input_ids, scores, matches)

        return get_candidates, update_candidate_strategy


def load(name, **changes):
    model = IdeficsForVisionText2Text.from_pretrained(GOLDEN / "models" / name, dtype=torch.float32, **changes).eval()
    model.config.vocab_size += model.config.additional_vocab_size  # or lookup lacks added tokens
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=2, pad_token_id=0)
    return model


@torch.no_grad()
def record_rounds(rng, name, cases):
    """Passes begin after the answer's first token, as ours do: the prompt ends with it."""
    model, draft = load(name), load(name, num_hidden_layers=2)
    pool = load_file(GOLDEN / "models" / name / "greedy_pool.safetensors")["pool"]
    for i in range(20):
        case = Case(rng, model, pool, most_rows=1)
        row, new = case.rows[0], rng.randint(8, 24)
        first = model.generate(**case.inputs(), do_sample=False, max_new_tokens=1)[0, -1].item()
        row["ids"].append(first), row["seen"].append(row["seen"][-1])
        if i % 2 == 0:
            options = dict(prompt_lookup_num_tokens=rng.randint(1, 6), max_matching_ngram_size=rng.randint(1, 3))
            extra = dict(options)
        else:
            schedule = rng.choice(("constant", "heuristic_transient"))
            options = dict(num_assistant_tokens=rng.randint(1, 6), num_assistant_tokens_schedule=schedule,
                           assistant_confidence_threshold=rng.choice((0.0, 0.03)))
            for key, value in options.items():
                setattr(draft.generation_config, key, value)
            extra = dict(assistant_model=draft)
        with Rounds() as rounds:
            out = model.generate(**case.inputs(), **extra, do_sample=False, max_new_tokens=new - 1)
        tokens = ([first] + out[0, case.width() :].tolist())[:new]  # lookup may exceed the limit
        row["ids"].pop(), row["seen"].pop()
        if len(tokens) > 2 and first != 2:
            options |= dict(max_new_tokens=new, eos_token_id=[2])
            cases.append(dict(model=name, rows=case.rows, options=options, new_tokens=[tokens], rounds=rounds.passes))


def main():
    torch.set_num_threads(1)
    rng = random.Random(SEED)
    cases = [record(rng) for _ in range(CASES)]
    print(sum(bool(c["guess"]) for c in cases), "of", CASES, "cases have a guess")
    write_rows(output_folder() / "modes" / "lookup.json", dict(versions=versions(), seed=SEED), "cases", cases)
    cases = []
    for name in ("published", "no_added_tokens", "vector_gates"):
        record_rounds(rng, name, cases)
    print(sum(accepted for c in cases for _, accepted in c["rounds"]), "guesses accepted in", len(cases), "cases")
    write_rows(output_folder() / "modes" / "rounds.json", dict(versions=versions(), seed=SEED), "cases", cases)


if __name__ == "__main__":
    main()
