"""LoRA adapters that PEFT saves, and what transformers computes with them.

Writes tests/golden/data/lora/NAME/ (the files of PEFT's save_pretrained) and logits.safetensors:
f32 logits of the passes of models/published/forward.safetensors, with the adapter merged into an
f32 model, merged into an f16 model, and applied next to the dequantized weights of
four_bit/nf4_double. All arithmetic is f32, and tensors that are not matrices keep their f32 values.
NAME.bf16.MATRIX is a matrix that was merged into a bf16 model.
"""

import json
import os
import shutil

os.environ["TORCHDYNAMO_DISABLE"] = "1"

import peft
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import IdeficsConfig, IdeficsForVisionText2Text

from common import GOLDEN, metadata, output_folder
from make_four_bit import dequantized
from make_models import MODELS

SEED = 20261125
BASE = GOLDEN / "models" / "published"
ADAPTERS = {
    "plain": dict(r=4, lora_alpha=6, target_modules=["q_proj", "v_proj", "down_proj", "c_proj", "fc1"]),
    "patterns": dict(r=3, lora_alpha=5, use_rslora=True, target_modules=r".*layers\.[01]\.(self_attn\.[qkvo]|mlp\.gate)_proj",
                     rank_pattern={"k_proj": 7, "layers.1.self_attn.o_proj": 1}, alpha_pattern={"mlp.gate_proj": 2.5},
                     fan_in_fan_out=True, modules_to_save=["lm_head", "norm"]),
}


MATRIX = "model.layers.0.self_attn.q_proj.weight"


def base(dtype=torch.float32):
    return IdeficsForVisionText2Text.from_pretrained(BASE, dtype=dtype).eval()


def merged(folder, dtype=torch.float32):
    return PeftModel.from_pretrained(base(dtype), folder).merge_and_unload()


def merged_f16(folder):
    """Matrices and tables rounded to f16, in an f32 model: transformers would also round norms,
    biases and positions."""
    model = merged(folder)
    rounded = merged(folder, torch.float16).state_dict()
    kept = ("latents", "position_embedding")
    for key, value in model.state_dict().items():
        if value.ndim >= 2 and not any(word in key for word in kept):
            value.copy_(rounded[key])
    return model


def save_adapter(name, folder):
    """Random matrices, since a new adapter has a B of zeros."""
    torch.manual_seed(SEED + len(name))
    model = get_peft_model(base(), LoraConfig(**ADAPTERS[name]))
    for key, p in model.named_parameters():
        if "lora_" in key or "modules_to_save" in key:
            p.data = p.data + 0.2 * torch.randn_like(p)
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    about = json.loads((folder / "adapter_config.json").read_text())
    for key in ("target_modules", "modules_to_save"):  # PEFT writes these sets in any order
        if isinstance(about[key], list):
            about[key].sort()
    about["base_model_name_or_path"] = None
    (folder / "adapter_config.json").write_text(json.dumps(about, indent=1, sort_keys=True) + "\n")


def four_bit():
    """A new f32 model with the dequantized weights, as in make_four_bit."""
    from transformers import IdeficsForVisionText2Text as Model
    saved = Model.from_pretrained(GOLDEN / "four_bit" / "nf4_double").eval()
    plain = Model(IdeficsConfig(**MODELS["published"])).eval()
    plain.load_state_dict({k: v.float() for k, v in dequantized(saved).state_dict().items()})
    return plain


@torch.no_grad()
def main():
    torch.set_num_threads(1)
    out = output_folder() / "lora"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    passes = load_file(BASE / "forward.safetensors")
    keys = ("input_ids", "attention_mask", "pixel_values", "image_attention_mask")
    logits = {}
    for name in ADAPTERS:
        save_adapter(name, out / name)
        models = {
            "f32": merged(out / name),
            "f16": merged_f16(out / name),
            "nf4": PeftModel.from_pretrained(four_bit(), out / name),
        }
        for kind, model in models.items():
            for i in range(2):
                logits[f"{name}.{kind}.{i}"] = model.eval()(**{k: passes[f"{i}.{k}"] for k in keys}).logits.float().contiguous()
        logits[f"{name}.bf16.{MATRIX}"] = merged(out / name, torch.bfloat16).state_dict()[MATRIX].contiguous()
    save_file(logits, out / "logits.safetensors", metadata=metadata(SEED, peft=peft.__version__))


if __name__ == "__main__":
    main()
