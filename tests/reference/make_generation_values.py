"""Values of generation options that the reference takes, most of them with a warning.

Writes tests/golden/data/generation/values.json: watermark keys beyond what most programs use and the
ids that each prefers, end tokens that are named twice, and answers of a tiny checkpoint with
temperature 0, sentinel ids, and beams that are forced to end at once.
"""

import json
import random

import torch
from common import GOLDEN, output_folder
from make_generation import VERSIONS, batch
from safetensors import safe_open
from transformers import GenerationConfig, IdeficsForVisionText2Text
from transformers.generation.logits_process import ExponentialDecayLengthPenalty, WatermarkLogitsProcessor

SEED = 20261130
V, ADDED = 60, 4  # vocabulary without and with added tokens
KEYS = [15485863, 1, 0, -1, -15485863, 2**31, 2**32 + 5, 2**62, 2**63 - 1, -(2**62), -(2**63), 6148914691236517205]
ANSWERS = [
    {"temperature": 0.0}, {"top_p": 1.5}, {"temperature": 0.0, "top_k": 0, "typical_p": 7.0}, {"eos_token_id": -1}, {"eos_token_id": [-1, 2]},
    {"pad_token_id": -1}, {"bos_token_id": -1}, {"eos_token_id": -1, "pad_token_id": -1, "min_new_tokens": 3}, {"temperature": -3.0, "num_beams": 3},
    {"num_beams": 3, "forced_eos_token_id": 2, "max_new_tokens": 1}, {"num_beams": 2, "num_return_sequences": 2, "forced_eos_token_id": 2, "max_new_tokens": 1},
    {"num_beams": 3, "forced_eos_token_id": 2, "max_new_tokens": 2}, {"num_beams": 3, "eos_token_id": -1, "max_new_tokens": 4},
    {"exponential_decay_length_penalty": [1, 1.5], "eos_token_id": [9, 9, 9, 11]},
    {"sequence_bias": [[[5], 2.0], [[7, 5], 1.0], [[5], -3.0], [[7, 5], 4.0]]},
]


def scores_of(step):
    """The test has the same formula."""
    return torch.tensor([[((i * 37 + step * 11) % 64) / 8 - 3 for i in range(V + ADDED)]])


def watermarks():
    cases = []
    for key in KEYS:
        for scheme, width in (("lefthash", 1), ("selfhash", 1), ("selfhash", 3)):
            config = dict(hashing_key=key, seeding_scheme=scheme, context_width=width)
            process = WatermarkLogitsProcessor(vocab_size=V, device="cpu", bias=2.0, greenlist_ratio=0.25, **config)
            for step, ids in enumerate(([7], [0], [59, 3, 63], [1, 2, 3, 4, 62])):
                before = scores_of(step)
                after = process(torch.tensor([ids]), before.clone())
                cases.append(dict(config=config, ids=ids, step=step, green=(after != before)[0].nonzero().flatten().tolist()))
    return cases


def decays():
    cases = []
    for eos in ([5], [5, 5], [5, 9, 5, 5, 9]):
        process = ExponentialDecayLengthPenalty((2, 1.5), torch.tensor(eos), 3)
        after = process(torch.zeros(1, 3 + 4, dtype=torch.long), scores_of(0))
        cases.append(dict(eos=eos, scores=[after[0, 5].item(), after[0, 9].item()]))
    return cases


@torch.no_grad()
def answers():
    r, cases = random.Random(SEED), []
    for name in ("published", "no_added_tokens"):
        model = IdeficsForVisionText2Text.from_pretrained(GOLDEN / "models" / name, dtype=torch.float32).eval()
        with safe_open(GOLDEN / "models" / name / "greedy_pool.safetensors", "pt") as f:
            pool = f.get_tensor("pool")
        for options in ANSWERS:
            if "num_beams" in options and model.config.additional_vocab_size > 0:
                continue  # the reference fails
            about, inputs = batch(r, model, pool)
            asked = {k: [[*pair] for pair in v] if k == "sequence_bias" else v for k, v in options.items()}
            if "sequence_bias" in asked:  # the reference takes a dictionary, in which the last value of a key counts
                asked["sequence_bias"] = {tuple(ids): bias for ids, bias in options["sequence_bias"]}
            config = GenerationConfig(**{"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "max_new_tokens": 5, **asked})
            out = model.generate(**inputs, generation_config=config, output_scores=True, return_dict_in_generate=True, use_model_defaults=False)
            new = out.sequences[:, inputs["input_ids"].shape[1] :].tolist()
            cases.append(dict(model=name, **about, options={"max_new_tokens": 5, **options}, new_tokens=new, steps=len(out.scores)))
    return cases


def main():
    torch.set_num_threads(1)
    folder = output_folder() / "generation"
    folder.mkdir(parents=True, exist_ok=True)
    parts = {"watermarks": watermarks(), "decays": decays(), "answers": answers()}
    lines = ",\n".join(f'"{k}":[\n' + ",\n".join(json.dumps(c, separators=(",", ":")) for c in v) + "]" for k, v in parts.items())
    (folder / "values.json").write_text(f'{{"versions":{json.dumps(VERSIONS | {"seed": str(SEED)})},\n{lines}}}\n')
    print({k: len(v) for k, v in parts.items()})


if __name__ == "__main__":
    main()
