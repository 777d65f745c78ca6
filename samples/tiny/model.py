"""The configuration of the model, and an initialization that suits so small a one."""

import math

import torch
from torch import nn
from transformers import IdeficsConfig, IdeficsForVisionText2Text

from pool import GRID, IMAGE_SIZE, PATCH_SIZE

WIDTH = 128


def configuration(vocab_size):
    """Every component of the published checkpoints, at a thousandth of the size."""
    return IdeficsConfig(
        vocab_size=vocab_size, additional_vocab_size=3, hidden_size=WIDTH, intermediate_size=352,
        num_hidden_layers=4, num_attention_heads=4, hidden_act="silu", max_position_embeddings=512, max_sequence_length=512,
        rms_norm_eps=1e-6, dropout=0.0, tie_word_embeddings=False, use_cache=True,
        alpha_type="float", alpha_initializer="ones", alphas_initializer_range=0.0,
        cross_layer_interval=2, cross_layer_activation_function="swiglu", qk_layer_norms=True, use_resampler=True,
        freeze_text_layers=False, freeze_vision_layers=False, bos_token_id=1, eos_token_id=2, pad_token_id=0,
        vision_config=dict(embed_dim=WIDTH, image_size=IMAGE_SIZE, patch_size=PATCH_SIZE, intermediate_size=384,
                           num_hidden_layers=4, num_attention_heads=4, hidden_act="gelu"),
        perceiver_config=dict(use_resampler=True, resampler_depth=2, resampler_n_heads=4, resampler_head_dim=32,
                              resampler_n_latents=8, qk_layer_norms_perceiver=True),
    )


def new_model(vocab_size, seed=0):
    """A newly initialized model.

    Linear layers start with variance 1 / inputs: 0.02, as in transformers, is far too small at this
    width.
    """
    torch.manual_seed(seed)
    model = IdeficsForVisionText2Text(configuration(vocab_size))
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features ** -0.5)
    embeddings = model.model.vision_model.embeddings
    nn.init.normal_(embeddings.patch_embedding.weight, std=(3 * PATCH_SIZE ** 2) ** -0.5)
    embeddings.position_embedding.weight.data[1:] = _plane_waves(GRID, WIDTH)
    # Open gates: there is no pretrained language model to protect.
    for block in model.model.gated_cross_attn_layers:
        block.alpha_cross_attn.data.fill_(1.0)
        block.alpha_dense.data.fill_(1.0)
    return model


def _plane_waves(grid, width):
    """Sines and cosines of column and row.

    Neighbours are similar from the start, so that attention finds them at once.
    """
    frequencies = torch.exp(torch.linspace(math.log(math.pi / grid / 2), math.log(math.pi / 2), width // 4))
    angles = torch.arange(grid).unsqueeze(1) * frequencies
    waves = torch.cat([angles.sin(), angles.cos()], dim=1)
    columns = waves.unsqueeze(0).expand(grid, grid, -1)
    rows = waves.unsqueeze(1).expand(grid, grid, -1)
    return torch.cat([columns, rows], dim=-1).reshape(grid * grid, width)
