"""What transformers' PromptLookupCandidateGenerator guesses behind random rows of ids that repeat themselves.

Writes tests/golden/data/modes/lookup.json: one case per line.
"""

import random

import torch
from common import output_folder, versions, write_rows
from transformers.generation.candidate_generator import PromptLookupCandidateGenerator
from transformers.generation.logits_process import (
    LogitsProcessorList,
    NoBadWordsLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    SuppressTokensLogitsProcessor,
)

SEED, CASES, VOCABULARY = 20261126, 600, 40


def random_processors(rng, eos):
    """Options that forbid tokens, and the processors that they stand for."""
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


def main():
    rng = random.Random(SEED)
    cases = [record(rng) for _ in range(CASES)]
    print(sum(bool(c["guess"]) for c in cases), "of", CASES, "cases have a guess")
    write_rows(output_folder() / "modes" / "lookup.json", dict(versions=versions(), seed=SEED), "cases", cases)


if __name__ == "__main__":
    main()
