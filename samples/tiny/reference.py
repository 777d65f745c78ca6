"""Dense labels for the language side, like those of `perception`: the thing that a word means.

At every word for a kind or a colour, the hidden state after the first decoder layer learns to
represent the kind, colour and role of the only thing in the picture that the word fits, or that
there is none. Words that fit several things are skipped. Without these labels, the references take
many times as long to learn.
"""

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from model import WIDTH
from perception import CLASSES
from world import COLOURS, KINDS


class References(nn.Module):
    def __init__(self, model, tokenizer):
        super().__init__()
        torch.manual_seed(1)
        self.read = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, sum(CLASSES)))
        ids = lambda words: torch.tensor([tokenizer.encode(word, add_special_tokens=False) for word in words]).view(-1)
        self.words = (ids(KINDS), ids(COLOURS))
        model.model.layers[0].register_forward_hook(self._keep)

    def _keep(self, module, inputs, output):
        self.state = output[0] if isinstance(output, tuple) else output

    def labels(self, ids, sight, things):
        """Classes of the things meant [B,T,3], -100 where no word means one; `things` [B,I,3,3]."""
        seen = things.gather(1, sight.argmax(-1)[..., None, None].expand(-1, -1, *things.shape[2:]))
        labels = torch.full((*ids.shape, 3), -100)
        nothing = torch.tensor(CLASSES) - 1
        for column, words in enumerate(self.words):
            match = ids.unsqueeze(-1) == words
            said = match.any(-1) & sight.bool().any(-1)
            fits = seen[..., column] == match.long().argmax(-1, keepdim=True)
            count = fits.sum(-1)
            meant = (seen * fits.unsqueeze(-1)).sum(-2)
            labels[said & (count == 1)] = meant[said & (count == 1)]
            labels[said & (count == 0)] = nothing
        return labels

    def loss(self, batch, things):
        labels = self.labels(batch["input_ids"], batch["image_attention_mask"], things)
        read = self.read(self.state).split(CLASSES, dim=-1)
        return sum(cross_entropy(r.flatten(0, 1), labels[..., i].flatten()) for i, r in enumerate(read))
