"""transformers with a cache whose keys and values are rounded to bf16, on the checkpoints of make_models.py.

Writes tests/golden/data/modes/kv_cache.{json,safetensors}: the logits of the forward passes of
make_models.py, and new batches through greedy and beam search. Weights and arithmetic are f32.
"""

import torch
from common import output_folder
from make_attentions import record_all
from make_beams import Case, Margins, load
from safetensors.torch import load_file
from transformers import DynamicCache

SEED, CASES_PER_MODEL = 20261130, 6
MODELS = ("published", "instruct", "no_resampler", "no_text_norms", "vector_gates", "odd_widths", "stored_bf16", "stored_f16")


class RoundedCache(DynamicCache):
    """Keys and values become bf16 when they are written, and are read as f32."""

    def update(self, keys, values, *others, **named):
        return super().update(keys.bfloat16().float(), values.bfloat16().float(), *others, **named)


def record_forward(name, model, tensors):
    recorded = load_file(output_folder() / "models" / name / "forward.safetensors")
    for i in range(2):
        keys = ("input_ids", "attention_mask", "pixel_values", "image_attention_mask")
        inputs = {key: recorded[f"{i}.{key}"] for key in keys}
        tensors[f"{name}.{i}.logits"] = model(**inputs, past_key_values=RoundedCache(), use_cache=True).logits


@torch.no_grad()
def record(name, rng, cases, tensors):
    model, pool = load(name)
    record_forward(name, model, tensors)
    margins = Margins(model)
    for i in range(CASES_PER_MODEL):
        beams = (1, 1, 3)[i % 3]
        case = Case(rng, model, pool, longest=9)
        options = dict(num_beams=beams, num_return_sequences=beams, max_new_tokens=8)
        margins.least = 1e9
        out = model.generate(**case.inputs(), **options, do_sample=False, eos_token_id=None, past_key_values=RoundedCache(),
                             output_scores=True, return_dict_in_generate=True)
        margin = margins.least
        if beams == 1:
            best = torch.stack([step.topk(2).values for step in out.scores])
            margin = float((best[..., 0] - best[..., 1]).min())
        cases.append(dict(model=name, rows=case.rows, options=options, new_tokens=out.sequences[:, case.width() :].tolist(),
                          margin=round(margin, 7)))


if __name__ == "__main__":
    record_all("kv_cache", MODELS, SEED, record)
