"""Checkpoints that transformers loads and saves in 4 bits with bitsandbytes, on the CPU.

Writes tests/golden/data/four_bit/NAME/ (the files of save_pretrained, and forward.safetensors: f32
logits of the dequantized weights), tensors.json (a hash of all tensors of every tiny checkpoint in
every format) and modules.json (the modules that are quantized for each list of modules to skip).
"""

import importlib.metadata
import os
import shutil
import tempfile
from pathlib import Path

os.environ["TORCHDYNAMO_DISABLE"] = "1"

import bitsandbytes
import torch
from safetensors.torch import save_file
from transformers import BitsAndBytesConfig, IdeficsConfig, IdeficsForVisionText2Text

from common import GOLDEN, fnv1a, hex64, output_folder, versions, write_rows
from make_models import MODELS, SEED, build, cases

# With a flat config transformers builds another tower, and it does not find names without "model."
# when it quantizes: these models are read as transformers itself saves them.
SAVED_ANEW = ("flat", "no_prefix")
HEAD = {"versions": versions() | {"bitsandbytes": importlib.metadata.version("bitsandbytes")}}
SAVED = {  # small files, which tests read in full
    "nf4_double": ("published", dict(bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True), {}),
    "fp4_sharded": ("interval_three", dict(bnb_4bit_quant_type="fp4"), dict(max_shard_size="60KB")),
    "nf4_stored_bf16": ("instruct", dict(bnb_4bit_quant_type="nf4", bnb_4bit_quant_storage="bfloat16",
                                          bnb_4bit_compute_dtype="bfloat16"), {}),
}
SKIPS = [None, ["lm_head", "embed_tokens"], ["lm_head", "vision_model"], ["lm_head", "q_proj"], ["lm_head", "model.layers.0.mlp", "fc1"],
         ["lm_head", "layers.1", "attn"], [], ["q_proj"], ["model.lm_head", "vision_model.encoder"], ["model"], ["lm_hea", "head"]]


def load(name, skip=None, dtype=None, **options):
    config = BitsAndBytesConfig(load_in_4bit=True, llm_int8_skip_modules=skip, **options)
    return IdeficsForVisionText2Text.from_pretrained(folder_of(name), quantization_config=config, dtype=dtype).eval()


def folder_of(name):
    if name not in SAVED_ANEW:
        return GOLDEN / "models" / name
    folder = Path(tempfile.gettempdir()) / f"idefics-{os.getpid()}-{name}"
    if not folder.exists():
        build(name)[0].save_pretrained(folder)
    return folder


def bytes_of(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def hash_of(model):
    """The number and hash of all tensors, with names, dtypes and shapes, but for a tied head."""
    lines, state = [], model.state_dict()
    for key in sorted(state):
        if model.config.tie_word_embeddings and key.startswith("lm_head"):
            continue
        t = state[key]
        lines.append(f"{key} {str(t.dtype).removeprefix('torch.')} {list(t.shape)} {hex64(fnv1a(bytes_of(t)))}")
    return len(lines), hex64(fnv1a("\n".join(lines).encode()))


def quantized_modules(model):
    """The names of quantized modules. A head that the list does not skip loses its added tokens."""
    return sorted(name for name, m in model.named_modules() if isinstance(m, bitsandbytes.nn.Linear4bit))


def dequantized(model):
    """The same model with plain f32 weights, since bitsandbytes' forward pass rounds on CPUs with
    AVX512-BF16."""
    for name, module in list(model.named_modules()):
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            state = module.weight.quant_state
            state.dtype = torch.float32
            codes = module.weight.data.view(torch.uint8)  # the CPU kernel reads u8 only
            weight = bitsandbytes.functional.dequantize_4bit(codes.reshape(-1, 1), state)
            plain = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=module.bias is not None)
            plain.weight.data = weight
            if module.bias is not None:
                plain.bias.data = module.bias.data.float()
            model.set_submodule(name, plain)
    return model


@torch.no_grad()
def record(name, folder):
    source, options, how = SAVED[name]
    shutil.rmtree(folder, ignore_errors=True)
    model = load(source, **options)
    model.save_pretrained(folder, **how)
    # a new f32 model: a loaded one keeps tables in its load dtype, and loading as f32 would convert
    # codes that are stored as bf16
    plain = IdeficsForVisionText2Text(IdeficsConfig(**MODELS[source])).eval()
    plain.load_state_dict({k: v.float() for k, v in dequantized(model).state_dict().items()})
    torch.manual_seed(SEED)
    tensors = {}
    for i, case in enumerate(cases(source, plain)):
        tensors |= {f"{i}.{k}": v for k, v in case.items()}
        tensors[f"{i}.logits"] = plain(**case).logits.float()
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "forward.safetensors")


def main():
    torch.set_num_threads(1)
    out = output_folder() / "four_bit"
    for name in SAVED:
        record(name, out / name)
        print(name, flush=True)
    rows, modules = [], []
    for name in MODELS:
        for kind in ("nf4", "fp4"):
            for double in (False, True):
                for dtype in (None, torch.bfloat16, torch.float32):
                    if name == "odd_widths" and double and dtype == torch.float32:
                        continue  # nested_offset: means of seven constants differ in the last bit
                    model = load(name, dtype=dtype, bnb_4bit_quant_type=kind, bnb_4bit_use_double_quant=double)
                    rows.append([name, kind, double, str(dtype).removeprefix("torch."), *hash_of(model)])
        for skip in SKIPS:
            if MODELS[name].get("tie_word_embeddings") and skip is not None and "lm_head" not in skip:
                continue  # a tied 4-bit head fails to load
            names = quantized_modules(load(name, skip=skip))
            modules.append([name, skip, len(names), hex64(fnv1a("\n".join(names).encode()))])
        print(name, flush=True)
    for name in SAVED_ANEW:
        shutil.rmtree(folder_of(name))
    write_rows(out / "tensors.json", HEAD, "rows", rows)
    write_rows(out / "modules.json", HEAD, "rows", modules)


if __name__ == "__main__":
    main()
