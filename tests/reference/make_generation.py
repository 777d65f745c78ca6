"""transformers' generate with every logits processor, warper and stopping rule.

Reads the tiny checkpoints tests/golden/data/models/NAME and writes
tests/golden/data/generation/{cases.json, scores.safetensors, stop_strings.json}. A case is a
left-padded batch, options in transformers' form, and the results: sequences, lengths, the margin of
each choice over the second best, and the processed scores of the first and the last step. Options
whose names begin with "test_" denote callables that the test defines again.
"""

import json
import random
from pathlib import Path

import torch
import transformers
from common import GOLDEN, output_folder
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import GenerationConfig, IdeficsForVisionText2Text, LlamaTokenizerFast, LogitsProcessor
from transformers.generation.logits_process import UnbatchedClassifierFreeGuidanceLogitsProcessor as Guidance
from transformers.generation.stopping_criteria import StopStringCriteria

SEED = 20261124
HERE = Path(__file__).resolve().parent
MODELS = GOLDEN / "models"
VERSIONS = {"torch": torch.__version__, "transformers": transformers.__version__, "seed": str(SEED)}
NAMES = ["published", "instruct", "no_added_tokens", "no_resampler"]
NEW_TOKENS = 5


class CountPenalty(LogitsProcessor):
    """OpenAI's definition, applied to new tokens."""

    def __init__(self, prompt, frequency, presence):
        self.prompt, self.frequency, self.presence = prompt, frequency, presence

    def __call__(self, input_ids, scores):
        scores = scores.clone()
        for row, ids in enumerate(input_ids[:, self.prompt :].tolist()):
            for token in set(ids):
                scores[row, token] -= ids.count(token) * self.frequency + self.presence
        return scores


class Slope(LogitsProcessor):
    """The test's own processor, which favours higher ids."""

    def __call__(self, input_ids, scores):
        return scores + torch.arange(scores.shape[-1]) * 0.0625


def unconditional_logits(self, input_ids):
    """The pass without pictures, which the reference does not support for IDEFICS; without a cache,
    for simplicity."""
    state = self.unconditional_context
    if state["first_pass"]:
        state["input_ids"] = input_ids[:, -1:] if state["input_ids"] is None else state["input_ids"]
        state["first_pass"] = False
    else:
        state["input_ids"] = torch.cat([state["input_ids"], input_ids[:, -1:]], dim=1)
    ids, side = state["input_ids"], self.model.config.vision_config.image_size
    return self.model(ids, attention_mask=torch.ones_like(ids), pixel_values=torch.zeros(len(ids), 1, 3, side, side),
                      image_attention_mask=torch.zeros(*ids.shape, 1, dtype=torch.long), use_cache=False).logits


Guidance.get_unconditional_logits = unconditional_logits


def greedy_options(r, v):
    """One processor at a time, each with several values."""
    word = lambda n: [r.randrange(3, v) for _ in range(n)]
    ends = lambda n: sorted(r.sample(range(3, v), n))
    yield lambda: {}
    yield lambda: {"eos_token_id": ends(12)}
    yield lambda: {"sequence_bias": [[word(r.choice([1, 1, 2, 3])), round(r.uniform(-6, 6), 2)] for _ in range(12)]}
    yield lambda: {"encoder_repetition_penalty": round(r.uniform(0.4, 2.5), 2)}
    yield lambda: {"repetition_penalty": round(r.uniform(0.4, 2.5), 2)}
    yield lambda: {"no_repeat_ngram_size": r.choice([1, 1, 2, 3])}
    yield lambda: {"encoder_no_repeat_ngram_size": r.choice([1, 1, 2])}
    yield lambda: {"bad_words_ids": [word(r.choice([1, 1, 1, 2])) for _ in range(30)] + [[2]]}
    yield lambda: {"min_new_tokens": r.randrange(1, 5), "eos_token_id": ends(20)}
    yield lambda: {"min_length": r.randrange(8, 14), "eos_token_id": ends(20)}
    yield lambda: {"forced_eos_token_id": r.choice([2, 5, [2, 9]])}
    yield lambda: {"forced_bos_token_id": 1, "begin_suppress_tokens": word(30)}
    yield lambda: {"remove_invalid_values": True, "suppress_tokens": word(20)}
    yield lambda: {"exponential_decay_length_penalty": [r.randrange(0, 3), round(r.uniform(0.8, 1.9), 2)], "eos_token_id": ends(9)}
    yield lambda: {"suppress_tokens": word(40) + [v + 7]}
    yield lambda: {"begin_suppress_tokens": word(40)}
    yield lambda: {"renormalize_logits": True}
    yield lambda: {"watermarking_config": {"bias": round(r.uniform(1, 4), 1), "greenlist_ratio": r.choice([0.25, 0.5])}}
    yield lambda: {"watermarking_config": {"seeding_scheme": "selfhash", "context_width": r.choice([1, 2, 3]), "bias": 3.0, "hashing_key": r.choice([15485863, 7919])}}
    yield lambda: {"guidance_scale": round(r.uniform(0, 3), 2)}
    yield lambda: {"guidance_scale": round(r.uniform(1.1, 3), 2), "test_negative": r.randrange(2, 6)}
    yield lambda: {"test_allowed_modulo": r.choice([2, 3, 5])}
    yield lambda: {"test_slope": True}
    yield lambda: {"frequency_penalty": round(r.uniform(-2, 2), 2), "presence_penalty": round(r.uniform(-2, 2), 2)}


def sampling_options(r):
    """Warpers; top_k is 50 unless it is given."""
    yield lambda: {}
    yield lambda: {"temperature": round(r.uniform(0.3, 2.5), 2)}
    yield lambda: {"top_k": r.choice([0, 1, 2, 5, 20, 1000])}
    yield lambda: {"top_k": 0, "top_p": round(r.uniform(0.0, 0.99), 2)}
    yield lambda: {"top_k": 0, "min_p": round(r.uniform(0.0, 0.6), 3)}
    yield lambda: {"top_k": 0, "typical_p": round(r.uniform(0.05, 0.98), 2)}
    yield lambda: {"top_k": 0, "epsilon_cutoff": round(r.uniform(0.0005, 0.05), 4)}
    yield lambda: {"top_k": 0, "eta_cutoff": round(r.uniform(0.0005, 0.3), 4)}
    yield lambda: {"temperature": round(r.uniform(0.5, 2), 2), "top_k": r.choice([10, 30]), "top_p": round(r.uniform(0.3, 0.95), 2)}
    yield lambda: {"temperature": 1.5, "top_k": 40, "top_p": 0.97, "min_p": 0.01, "typical_p": 0.9, "epsilon_cutoff": 0.003, "eta_cutoff": 0.01,
                   "renormalize_logits": True}


def batch(r, model, pool):
    """Left-padded prompts with up to two pictures each."""
    c, side = model.config, pool.shape[-1]
    v, rows = c.vocab_size + c.additional_vocab_size, r.choice([1, 1, 1, 2])
    lengths = [r.randrange(2, 9) for _ in range(rows)]
    pictures = [[r.randrange(len(pool)) for _ in range(r.randrange(3))] for _ in range(rows)]
    t, n = max(lengths), max(1, *map(len, pictures), 1)
    ids, mask = torch.zeros(rows, t, dtype=torch.long), torch.zeros(rows, t, dtype=torch.long)
    pixels, seen = torch.zeros(rows, n, 3, side, side), torch.zeros(rows, t, n, dtype=torch.long)
    for i in range(rows):
        first = t - lengths[i]
        mask[i, first:] = 1
        ids[i, first:] = torch.tensor([r.choice([r.randrange(3, v), r.randrange(3, 9)]) for _ in range(lengths[i])])
        for place, picture in enumerate(pictures[i]):
            start = first + r.randrange(lengths[i])
            seen[i, start:] = 0
            seen[i, start:, place] = 1
            pixels[i, place] = pool[picture]
    about = dict(input_ids=ids.tolist(), attention_mask=mask.tolist(), images=pictures, image_attention_mask=seen.tolist())
    return about, dict(input_ids=ids, attention_mask=mask, pixel_values=pixels, image_attention_mask=seen)


@torch.no_grad()
def run(r, model, options, inputs):
    """Options as the test reads them, and the results of generate."""
    ids, v = inputs["input_ids"], model.config.vocab_size + model.config.additional_vocab_size
    own, extra = [], {}
    asked = {k: val for k, val in options.items() if not k.startswith("test_") and k not in ("frequency_penalty", "presence_penalty")}
    if "frequency_penalty" in options:
        own.append(CountPenalty(ids.shape[1], options["frequency_penalty"], options["presence_penalty"]))
    if "test_slope" in options:
        own.append(Slope())
    if "test_allowed_modulo" in options:
        k = options["test_allowed_modulo"]
        extra["prefix_allowed_tokens_fn"] = lambda row, so_far: [i for i in range(v) if (i + row + len(so_far)) % k == 0]
    if "test_negative" in options:
        length = options.pop("test_negative")
        negative = torch.tensor([[r.randrange(3, v) for _ in range(length)] for _ in ids])
        extra["negative_prompt_ids"], options["negative_prompt_ids"] = negative, negative.tolist()
    config = GenerationConfig(**{"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, **asked})
    torch.manual_seed(SEED)
    out = model.generate(**inputs, **extra, generation_config=config, logits_processor=own, output_scores=True,
                         return_dict_in_generate=True, use_model_defaults=False)
    ends = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    new = out.sequences[:, ids.shape[1] :].tolist()
    lengths = [next((i + 1 for i, token in enumerate(row) if token in ends), len(row)) for row in new]
    margins = []
    for scores in out.scores:
        best = scores.topk(2).values
        broken = scores.isnan().any(-1)  # exponential decay of a forbidden end token: a tie
        margins.append([0.0 if nan else round(min(1e6, float(b[0] - b[1])), 6) for b, nan in zip(best, broken)])
    kept = torch.stack([out.scores[0], out.scores[-1]])
    return dict(options=options, new_tokens=new, lengths=lengths, margins=margins), kept.float().contiguous()


def record_cases(r):
    cases, scores = [], {}

    def add(name, model, pool, options):
        about, inputs = batch(r, model, pool)
        if "min_length" in options:  # above the limit the reference only warns
            options["min_length"] = min(options["min_length"], inputs["input_ids"].shape[1] + NEW_TOKENS)
        result, kept = run(r, model, options, inputs)
        scores[str(len(cases))] = kept
        cases.append(dict(model=name, **about, **result))

    for name in NAMES:
        model = IdeficsForVisionText2Text.from_pretrained(MODELS / name, dtype=torch.float32).eval()
        with safe_open(MODELS / name / "greedy_pool.safetensors", "pt") as f:
            pool = f.get_tensor("pool")
        v = model.config.vocab_size + model.config.additional_vocab_size
        singles = list(greedy_options(r, v))
        for make in singles * 3:
            add(name, model, pool, {"max_new_tokens": NEW_TOKENS, **make()})
        for _ in range(24):  # several at once, but those that the reference lacks or cannot order
            options = {"max_new_tokens": NEW_TOKENS}
            for make in r.sample(singles[1:20], r.randrange(2, 5)):
                options |= make()
            add(name, model, pool, options)
        for make in list(sampling_options(r)) * 4:
            add(name, model, pool, {"max_new_tokens": 1, "do_sample": True, **make()})
        print(name, len(cases), flush=True)
    return cases, scores


def record_stop_strings(r):
    """StopStringCriteria with the tokenizer of the embedded checkpoint. Byte tokens beyond ASCII
    are omitted, since the reference reads each of them as U+FFFD."""
    tokenizer = LlamaTokenizerFast.from_pretrained(HERE.parents[1] / "samples" / "tiny")
    texts = dict(zip(*reversed(StopStringCriteria.clean_tokenizer_vocab(tokenizer))))
    usable = sorted(i for i in texts if "\ufffd" not in texts[i])  # a vocabulary is not ordered
    short = [i for i in usable if len(texts[i]) <= 2]
    cases = []
    for _ in range(300):
        ids = [r.choice(r.choice([usable, short])) for _ in range(r.randrange(1, 9))]
        text = "".join(texts[i] for i in ids)
        strings = []
        for _ in range(r.randrange(1, 4)):
            size, end = r.randrange(1, 9), len(text) - r.randrange(0, 4)
            cut = text[max(0, end - size) : end]
            strings.append(cut if cut and r.random() < 0.7 else "".join(r.choice("ab e\n.") for _ in range(r.randrange(1, 3))))
        criterion = StopStringCriteria(tokenizer, strings)
        cases.append(dict(ids=ids, strings=strings, stops=bool(criterion(torch.tensor([ids]), None)[0])))
    return cases


def write_json(path, versions, cases):
    lines = ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases)
    path.write_text(f'{{"versions":{json.dumps(versions)},"cases":[\n{lines}\n]}}\n')


def main():
    torch.set_num_threads(1)
    out = output_folder() / "generation"
    out.mkdir(parents=True, exist_ok=True)
    r = random.Random(SEED)
    cases, scores = record_cases(r)
    write_json(out / "cases.json", VERSIONS, cases)
    save_file(scores, out / "scores.safetensors", metadata=VERSIONS)
    write_json(out / "stop_strings.json", VERSIONS, record_stop_strings(r))


if __name__ == "__main__":
    main()
