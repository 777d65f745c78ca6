"""Attention rollout, in numpy, of transformers' attention weights on the checkpoints of make_models.py.

Writes tests/golden/data/modes/attention_rollout.{json,safetensors}: for greedy answers to prompts with
two pictures, what each new token looked at, with the options of each case: cross-attention of one
layer or head or the mean of all, with and without the vision tower. The weights are those of the
modules: of cross-attention the last query's, of the vision tower what it returns, and of the resampler,
which returns none, the operand that it gives to its last torch.einsum.
"""

import numpy as np
import torch
from make_attentions import CrossAttentions, record_all
from make_beams import Case, load
from transformers.models.idefics import perceiver

SEED, CASES_PER_MODEL = 20261130, 2
MODELS = ("published", "no_resampler", "vector_gates", "odd_widths")


class PictureAttentions:
    """The weights of the vision tower and the resampler while pictures are encoded."""

    def __init__(self, model):
        self.model, self.einsum, self.resampler = model.model, torch.einsum, []

    def seen(self, equation, *operands):
        if equation == "... i j, ... j d -> ... i d":
            self.resampler.append(operands[0])  # [I, H, L, S + L]
        return self.einsum(equation, *operands)

    def of(self, pixels):
        """Means over heads, by picture: of the tower [layers, S, S], of the resampler [depth, L, S + L]."""
        self.resampler.clear()
        perceiver.torch.einsum = self.seen
        try:
            tower = self.model.vision_model(pixel_values=pixels, output_attentions=True)
            if hasattr(self.model, "perceiver_resampler"):
                self.model.perceiver_resampler(tower.last_hidden_state)
        finally:
            perceiver.torch.einsum = self.einsum
        means = [[layer.mean(1) for layer in layers] for layers in (tower.attentions, self.resampler)]
        return [tuple([w[i].double().numpy() for w in layers] for layers in means) for i in range(len(pixels))]


def rollout(tower, resampler, vision):
    """What the features that tokens read consist of: shares of the positions and of the learned latents."""
    s = tower[0].shape[0]
    if resampler:
        latents = resampler[0].shape[0]
        shares = np.hstack((np.zeros((latents, s)), np.ones((latents, 1))))
        for attention in resampler:
            read = np.hstack((attention[:, :s], np.zeros((latents, 1)))) + attention[:, s:] @ shares
            shares = (shares + read) / 2
    else:
        shares = np.hstack((np.eye(s), np.zeros((s, 1))))
    if vision:
        through = np.eye(s)
        for attention in tower:
            through = (through + attention @ through) / 2
        shares = np.hstack((shares[:, :s] @ through, shares[:, s:]))
    return shares


@torch.no_grad()
def record(name, rng, cases, tensors):
    model, pool = load(name)
    model.set_attn_implementation("eager")  # other implementations return no weights
    cross, pictures = CrossAttentions(model), PictureAttentions(model)
    for i in range(CASES_PER_MODEL):
        while True:  # two pictures, of which the last token sees the second
            case = Case(rng, model, pool, longest=6, most_rows=1)
            if case.rows[0]["seen"][-1] == 1:
                break
        inputs = case.inputs()
        cross.passes = []
        out = model.generate(**inputs, max_new_tokens=4, do_sample=False, eos_token_id=None, output_scores=True, return_dict_in_generate=True)
        best = torch.stack([step.topk(2).values for step in out.scores])
        read = torch.stack(cross.steps())[:, 0].double().numpy()  # [s, layers, H, J]
        layer, head = rng.randrange(read.shape[1]), rng.randrange(read.shape[2])
        encoded = pictures.of(inputs["pixel_values"][0])
        for options in (dict(), dict(vision=True), dict(layer=layer), dict(layer=layer, head=head), dict(head=head, vision=True)):
            chosen = read[:, [layer]] if "layer" in options else read
            chosen = chosen[:, :, [head]] if "head" in options else chosen
            steps = chosen.mean((1, 2)).reshape(len(read), len(encoded), -1)
            shares = np.stack([steps[:, j] @ rollout(*one, "vision" in options) for j, one in enumerate(encoded)], 1)
            tensors[str(len(cases))] = torch.tensor(shares, dtype=torch.float32)  # [s, I, S + 1]
            cases.append(dict(model=name, rows=case.rows, rollout=options, new_tokens=out.sequences[:, case.width() :].tolist(),
                              margin=round(float((best[..., 0] - best[..., 1]).min()), 7)))


if __name__ == "__main__":
    record_all("attention_rollout", MODELS, SEED, record)
