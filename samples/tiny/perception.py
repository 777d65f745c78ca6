"""The first stages: vision before language.

For every patch, the tower learns in which thing's box it is: the kind, colour and role of that
thing, and the position of the patch within it. The first three latents of the resampler learn to
represent the first, second and third thing of the caption. The heads that teach this are discarded.
"""

import torch
from torch import nn
from torch.nn.functional import cross_entropy, smooth_l1_loss

from model import WIDTH
from pool import SLOTS
from world import COLOURS, KINDS, ROLES

CLASSES = (len(KINDS) + 1, len(COLOURS) + 1, len(ROLES) + 1)


class Questions(nn.Module):
    """Linear heads on the patches and on the first latents."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, sum(CLASSES)))
        self.frames = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3))
        self.slots = nn.Linear(WIDTH, sum(CLASSES))

    def loss(self, patches, latents, labels):
        slot_labels, patch_labels, frames = labels
        read = self.patches(patches[:, 1:]).split(CLASSES, dim=-1)
        seen = self.slots(latents[:, :SLOTS]).split(CLASSES, dim=-1)
        patch_loss = sum(_balanced(r, patch_labels[..., i]) for i, r in enumerate(read))
        owned = patch_labels[..., 0] < len(KINDS)
        frame_loss = smooth_l1_loss(self.frames(patches[:, 1:])[owned], frames[owned])
        slot_loss = sum(cross_entropy(s.flatten(0, 1), slot_labels[..., i].flatten()) for i, s in enumerate(seen))
        return patch_loss + slot_loss + 2 * frame_loss

    @torch.no_grad()
    def score(self, latents, slot_labels):
        """Fractions of things with the right kind, colour, role, and of scenes with all right."""
        seen = self.slots(latents[:, :SLOTS]).split(CLASSES, dim=-1)
        right = torch.stack([s.argmax(-1) for s in seen], dim=-1) == slot_labels
        real = slot_labels[..., 0] < len(KINDS)
        return [*right[real].float().mean(0).tolist(), right.flatten(1).all(1).float().mean().item()]


def _balanced(logits, labels):
    """Cross entropy in which empty patches, which are the majority, have a weight of 1/4."""
    nothing = logits.shape[-1] - 1
    weights = torch.where(labels == nothing, 0.25, 1.0).flatten()
    losses = cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    return (losses * weights).sum() / weights.sum()


def see(model, images):
    """Patches [I,65,Dv] and latents [I,8,Dv] of pictures, as in the forward pass of the model."""
    patches = model.model.vision_model(pixel_values=images).last_hidden_state
    return patches, model.model.perceiver_resampler(patches)
