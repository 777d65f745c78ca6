"""LLM.int8 by transformers and bitsandbytes on the CPU: layers, checkpoints, logits.

Writes tests/golden/data/int8/: cases.safetensors (matrices and rows of x with their codes, constants,
outliers and products), NAME/ (the files of save_pretrained, and forward.safetensors: f32 logits),
and tensors.json (a hash of all tensors of every tiny checkpoint). The modules that are quantized are
those of four_bit/modules.json, for every list of modules to skip.

bitsandbytes makes a column with an outlier in any row an outlier column of all rows of the call. The
engine takes the rows one by one, as a decoding step does; so "rows" are products and logits of which
each row was multiplied by a call of its own, and "whole" are those of ordinary calls.
"""

import importlib.metadata
import json
import logging
import os
import shutil

os.environ["TORCHDYNAMO_DISABLE"] = "1"

import bitsandbytes
import torch
from bitsandbytes import functional as bnb
from safetensors.torch import save_file
from transformers import BitsAndBytesConfig, IdeficsForVisionText2Text

from common import GOLDEN, fnv1a, hex64, metadata, output_folder, versions, write_rows
from make_four_bit import SAVED_ANEW, SKIPS, folder_of, hash_of
from make_models import MODELS, SEED, cases

logging.disable(logging.WARNING)
BITSANDBYTES = importlib.metadata.version("bitsandbytes")
HEAD = {"versions": versions() | {"bitsandbytes": BITSANDBYTES}}
SAVED = {  # source, options, how to save
    "published": ("published", dict(llm_int8_threshold=6.0), {}),
    "low_threshold": ("odd_widths", dict(llm_int8_threshold=1.5), {}),
    "no_outliers": ("interval_three", dict(llm_int8_threshold=0.0, llm_int8_skip_modules=["lm_head", "vision_model"]),
                    dict(max_shard_size="60KB")),
    "fp16_weight": ("instruct", dict(llm_int8_threshold=6.0, llm_int8_has_fp16_weight=True), {}),
}
DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
multiply = bitsandbytes.matmul


def by_rows(x, weight, out=None, state=None, threshold=0.0, bias=None):
    rows = x.reshape(-1, x.shape[-1])
    return torch.cat([multiply(row[None], weight, state=state, bias=bias) for row in rows]).reshape(*x.shape[:-1], -1)


def load(name, dtype=None, **options):
    config = BitsAndBytesConfig(load_in_8bit=True, **options)
    return IdeficsForVisionText2Text.from_pretrained(folder_of(name), quantization_config=config, dtype=dtype).eval()


def quantized_modules(model):
    return sorted(name for name, m in model.named_modules() if isinstance(m, bitsandbytes.nn.Linear8bitLt))


@torch.no_grad()
def layer(m, n, k, dtype, threshold, scale):
    """One layer: x has values far above the others, values at the threshold and rounded to it, and a
    zero row; some values of the weight are subnormal in f16."""
    x, weight, bias = torch.randn(m, k) * scale, torch.randn(n, k) * 0.1, torch.randn(n)
    x.view(-1)[::29] *= 9
    if m > 1:
        x[m // 2] = 0
    x[0, 0], x[-1, 1] = threshold, -threshold * (1 - 2**-12)
    weight[0] = 0
    weight[1, :3] = torch.tensor([1e-7, -3e-8, 6e-5])[: min(3, k)]
    x, weight = x.to(dtype), weight.to(dtype)
    codes, constants, _ = bnb.int8_vectorwise_quant(weight.half())
    state = bitsandbytes.MatmulLtState()
    state.CB, state.SCB, state.threshold, state.has_fp16_weights, state.is_training = codes, constants, threshold, False, False
    quantized = [bnb.int8_vectorwise_quant(row[None].half(), threshold=threshold) for row in x]
    outliers = torch.zeros(m, k, dtype=torch.uint8)
    for row, (_, _, columns) in enumerate(quantized):
        if columns is not None:
            outliers[row, columns] = 1
    return {"x": x, "weight": weight, "bias": bias, "codes": codes, "SCB": constants,
            "threshold": torch.tensor([threshold]), "x_codes": torch.cat([q[0] for q in quantized]),
            "x_absmax": torch.cat([q[1] for q in quantized]), "outliers": outliers,
            "rows": by_rows(x, None, state=state, bias=bias.to(dtype)).float(),
            "whole": multiply(x, None, state=state, bias=bias.to(dtype)).float()}


def record_layers(folder):
    torch.manual_seed(SEED)
    tensors = {}
    for name, dtype in DTYPES.items():
        for i, (m, n, k, threshold, scale) in enumerate(
                [(1, 7, 64, 6.0, 1), (9, 5, 100, 6.0, 1), (5, 4, 1024, 3.3, 2), (3, 6, 33, 0.0, 1), (4, 3, 17, 0.5, 1), (3, 5, 48, 6.0, 1e-6)]):
            tensors |= {f"{name}.{i}.{key}": t.clone().contiguous() for key, t in layer(m, n, k, dtype, threshold, scale).items()}
    save_file(tensors, folder / "cases.safetensors", metadata=metadata(SEED, bitsandbytes=BITSANDBYTES))


@torch.no_grad()
def record(name, folder):
    source, options, how = SAVED[name]
    shutil.rmtree(folder, ignore_errors=True)
    load(source, **options).save_pretrained(folder, **how)
    model = IdeficsForVisionText2Text.from_pretrained(folder, dtype=torch.float32).eval()
    plain = IdeficsForVisionText2Text.from_pretrained(folder_of(source), dtype=torch.float16).float().eval()
    torch.manual_seed(SEED)
    tensors = {}
    for i, case in enumerate(cases(source, plain)):
        tensors |= {f"{i}.{k}": v for k, v in case.items()}
        tensors[f"{i}.plain"], tensors[f"{i}.whole"] = plain(**case).logits, model(**case).logits
        bitsandbytes.matmul = by_rows
        tensors[f"{i}.rows"] = model(**case).logits
        bitsandbytes.matmul = multiply
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "forward.safetensors")


def main():
    torch.set_num_threads(1)
    out = output_folder() / "int8"
    out.mkdir(parents=True, exist_ok=True)
    record_layers(out)
    for name in SAVED:
        record(name, out / name)
        print(name, flush=True)
    rows = []
    modules = {(name, str(skip)): rest for name, skip, *rest in json.loads((out.parent / "four_bit" / "modules.json").read_text())["rows"]}
    for name in MODELS:
        for dtype in (None, torch.bfloat16, torch.float32):
            rows.append([name, str(dtype).removeprefix("torch."), *hash_of(load(name, dtype=dtype))])
        for skip in SKIPS:
            if MODELS[name].get("tie_word_embeddings") and skip is not None and "lm_head" not in skip:
                continue  # a tied quantized head fails to load
            names = quantized_modules(load(name, llm_int8_skip_modules=skip))
            assert modules[name, str(skip)] == [len(names), hex64(fnv1a("\n".join(names).encode()))]
        print(name, flush=True)
    for name in SAVED_ANEW:
        shutil.rmtree(folder_of(name))
    write_rows(out / "tensors.json", HEAD, "rows", rows)


if __name__ == "__main__":
    main()
