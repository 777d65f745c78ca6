"""Tiny random IDEFICS checkpoints, with transformers' forward passes and greedy search.

Writes tests/golden/data/models/NAME/{config.json, generation_config.json, model*.safetensors,
forward.safetensors, greedy.json, greedy_pool.safetensors}.
SEED determines weights, prompts and pictures.
"""

import copy
import json
import shutil

import torch
import transformers
from common import output_folder
from safetensors.torch import save_file
from transformers import GenerationConfig, IdeficsConfig, IdeficsForVisionText2Text

SEED = 20261123
VERSIONS = {"torch": torch.__version__, "transformers": transformers.__version__, "seed": str(SEED)}
PROMPTS_PER_MODEL, NEW_TOKENS, POOL = 72, 8, 4

VISION = dict(embed_dim=24, image_size=28, patch_size=7, intermediate_size=40, num_hidden_layers=2, num_attention_heads=3)
PERCEIVER = dict(resampler_n_latents=5, resampler_depth=2, resampler_n_heads=2, resampler_head_dim=10, qk_layer_norms_perceiver=True)
BASE = dict(vocab_size=101, additional_vocab_size=2, hidden_size=32, intermediate_size=44, num_hidden_layers=4,
            num_attention_heads=4, cross_layer_interval=2, qk_layer_norms=True, use_resampler=True)


def config(vision=None, perceiver=None, **text):
    return dict(BASE, **text, vision_config=dict(VISION, **(vision or {})), perceiver_config=dict(PERCEIVER, **(perceiver or {})))


MODELS = {
    "published": config(),
    "instruct": config(additional_vocab_size=3, cross_layer_interval=4, rms_norm_eps=1e-5),
    "no_resampler": config(use_resampler=False),
    "no_text_norms": config(qk_layer_norms=False, perceiver=dict(qk_layer_norms_perceiver=False)),
    "vector_gates": config(alpha_type="vector", cross_layer_interval=1),
    "interval_three": config(num_hidden_layers=3, cross_layer_interval=3, hidden_act="relu", vision=dict(hidden_act="quick_gelu")),
    "tied": config(tie_word_embeddings=True, hidden_act="gelu"),
    "no_added_tokens": config(additional_vocab_size=0, hidden_act="gelu_new", vision=dict(hidden_act="relu")),
    "remainder": config(hidden_act="gelu_pytorch_tanh", vision=dict(image_size=30, hidden_act="gelu_new")),
    "odd_widths": config(hidden_size=42, num_attention_heads=3, intermediate_size=53, hidden_act="quick_gelu",
                         vision=dict(embed_dim=22, num_attention_heads=2, intermediate_size=37, hidden_act="silu")),
    "flat": config(),
    "no_prefix": config(hidden_act="mish"),
    "sharded": config(hidden_act="relu2", vision=dict(hidden_act="tanh")),
    "stored_bf16": config(hidden_act="swish"),
    "stored_f16": config(hidden_act="leaky_relu"),
    "interpolated": config(hidden_act="relu6"),
}


def build(name):
    """A model in which every parameter matters: gates open, norms not one, biases not zero."""
    torch.manual_seed(SEED + len(name) * 31 + sum(map(ord, name)))
    model = IdeficsForVisionText2Text(IdeficsConfig(**MODELS[name])).eval()
    for key, p in model.named_parameters():
        norm = p.ndim == 1 and "norm" in key and key.endswith("weight")
        p.data = torch.randn_like(p) * (0.25 if p.ndim == 2 else 0.4) + (1.0 if norm else 0.0)
    dtype = {"stored_bf16": torch.bfloat16, "stored_f16": torch.float16}.get(name)
    if dtype is not None:
        for p in model.parameters():
            p.data = p.data.to(dtype).float()  # the f32 model has exactly the stored values
    return model, dtype


def save(name, model, dtype, folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    state = {k: v.detach().clone().contiguous() for k, v in model.state_dict().items()}
    if name == "tied":
        state = {k: v for k, v in state.items() if not k.startswith("lm_head")}
    if name == "no_prefix":
        state = {k.removeprefix("model."): v for k, v in state.items()}
    if dtype is not None:
        state = {k: v.to(dtype) for k, v in state.items()}
    if name == "published":
        state["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
        state["model.vision_model.embeddings.position_ids"] = torch.arange(17).unsqueeze(0)
    if name == "sharded":
        keys, index = sorted(state), {}
        for i in range(3):
            shard = f"model-0000{i + 1}-of-00003.safetensors"
            save_file({k: state[k] for k in keys[i::3]}, folder / shard, metadata={"format": "pt"})
            index.update({k: shard for k in keys[i::3]})
        write_json(folder / "model.safetensors.index.json", {"metadata": VERSIONS, "weight_map": index})
    else:
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    about = model.config.to_dict()
    if name == "flat":
        vision, perceiver = about.pop("vision_config"), about.pop("perceiver_config")
        about |= {f"vision_{k}": vision[k] for k in VISION} | {k: perceiver[k] for k in PERCEIVER}
    if name == "interpolated":
        about = {k: v for k, v in about.items() if k not in ("num_attention_heads", "rms_norm_eps")} | {"num_attention_heads": 4}
    write_json(folder / "config.json", about)
    write_json(folder / "generation_config.json", dict(_from_model_config=True, bos_token_id=1, eos_token_id=2, pad_token_id=0))


def write_json(path, value):
    path.write_text(json.dumps(value, sort_keys=True) + "\n")


def cases(name, model):
    """A batch with left padding, unequal pictures and a text-only row; one without pictures."""
    c, side = model.config, MODELS[name]["vision_config"]["image_size"]
    side = 42 if name == "interpolated" else side
    for b, t, n in ((3, 8, 2), (2, 5, 1)):
        seen = torch.zeros(b, t, n, dtype=torch.long)
        pixels = torch.zeros(b, n, 3, side, side)
        mask = torch.ones(b, t, dtype=torch.long)
        mask[1, : t // 3] = 0
        if n == 2:
            pixels[0] = torch.randn(2, 3, side, side)
            pixels[1, 0] = torch.randn(3, side, side)
            seen[0, 2:5, 0] = seen[0, 5:, 1] = seen[1, 4:, 0] = 1
        ids = torch.randint(3, c.vocab_size + c.additional_vocab_size, (b, t)) * mask
        yield dict(input_ids=ids, attention_mask=mask, pixel_values=pixels, image_attention_mask=seen)


@torch.no_grad()
def record_forward(name, model, folder):
    tensors = {}
    for i, case in enumerate(cases(name, model)):
        case_out = dict(case)
        for suffix, dtype in (("", torch.float32), ("_bf16", torch.bfloat16), ("_f16", torch.float16)):
            twin = copy.deepcopy(model).to(dtype)  # a copy: rotary tables stay rounded
            out = twin(**case, interpolate_pos_encoding=name == "interpolated")
            case_out["logits" + suffix] = out.logits.float()
            if not suffix:
                case_out["image_hidden_states"] = out.image_hidden_states
        tensors |= {f"{i}.{k}": v.clone().contiguous() for k, v in case_out.items()}
    save_file(tensors, folder / "forward.safetensors", metadata=VERSIONS)


@torch.no_grad()
def record_greedy(name, model, folder):
    c, side = model.config, MODELS[name]["vision_config"]["image_size"]
    pool = torch.randn(POOL, 3, side, side)
    save_file({"pool": pool}, folder / "greedy_pool.safetensors", metadata=VERSIONS)
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=2, pad_token_id=0)
    prompts = []
    for _ in range(PROMPTS_PER_MODEL):
        t, pictures = int(torch.randint(3, 9, ())), torch.randint(0, POOL, (int(torch.randint(0, 3, ())),)).tolist()
        n, ids = max(1, len(pictures)), torch.randint(3, c.vocab_size + c.additional_vocab_size, (1, t))
        seen, starts = torch.zeros(1, t, n, dtype=torch.long), sorted(torch.randint(0, t, (len(pictures),)).tolist())
        for i, start in enumerate(starts):
            seen[0, start:] = 0
            seen[0, start:, i] = 1
        pixels = pool[pictures].unsqueeze(0) if pictures else torch.zeros(1, 1, 3, side, side)
        out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=pixels, image_attention_mask=seen,
                             max_new_tokens=NEW_TOKENS, do_sample=False, output_logits=True, return_dict_in_generate=True)
        best = [step[0].topk(2).values for step in out.logits]
        prompts.append(dict(input_ids=ids[0].tolist(), images=pictures, image_attention_mask=seen[0].tolist(),
                            new_tokens=out.sequences[0, t:].tolist(), margins=[round(float(b[0] - b[1]), 6) for b in best]))
    write_json(folder / "greedy.json", {"versions": VERSIONS, "prompts": prompts})


def main():
    torch.set_num_threads(1)
    for name in MODELS:
        model, dtype = build(name)
        folder = output_folder() / "models" / name
        save(name, model, dtype, folder)
        record_forward(name, model, folder)
        if name != "interpolated":
            record_greedy(name, model, folder)
        print(name, flush=True)


if __name__ == "__main__":
    main()
