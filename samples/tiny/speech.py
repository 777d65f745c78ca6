"""The later stages: lessons as tensors, with cached latents at first and with pixels at the end."""

import random
import re

import torch

from talk import END, SAY, lesson
from world import sample_scene


def strip_marks(text):
    """The text without marks, and the spans between SAY and END."""
    plain, spans, start = "", [], None
    for piece in re.split(f"([{SAY}{END}])", text):
        if piece == SAY:
            start = len(plain)
        elif piece == END:
            spans.append((start, len(plain)))
        else:
            plain += piece
    return plain, spans


class School:
    """Batches of lessons about the first `count` scenes of a pool."""

    def __init__(self, tokenizer, pool, count):
        self.tokenizer = tokenizer
        self.image_token = tokenizer.convert_tokens_to_ids("<image>")
        self.scenes = [sample_scene(seed) for seed in pool.seeds[:count]]
        self.index = {id(scene): i for i, scene in enumerate(self.scenes)}
        self.alone = [scene for scene in self.scenes if len(scene.things) == 1]

    def batch(self, seed, room):
        """Lessons of similar length: as many as fit in `room` characters, padding included."""
        rng = random.Random(f"batch {seed}")
        drawn = [lesson(lambda r, alone: r.choice(self.alone if alone else self.scenes), rng) for _ in range(200)]
        drawn.sort(key=lambda pair: len(pair[0]))
        start = rng.randrange(len(drawn))
        taken = [drawn[start]]
        for pair in drawn[start + 1:]:
            if len(pair[0]) * (len(taken) + 1) > room:
                break
            taken.append(pair)
        return self._tensors(taken)

    def _tensors(self, lessons):
        texts, spans = zip(*(strip_marks("<s>" + text) for text, _ in lessons))
        coded = self.tokenizer(list(texts), add_special_tokens=False, padding=True, padding_side="right",
                               return_offsets_mapping=True, return_tensors="pt")
        ids, mask = coded["input_ids"], coded["attention_mask"]
        labels = torch.full_like(ids, -100)
        for row, (offsets, stretches) in enumerate(zip(coded["offset_mapping"], spans)):
            for start, stop in stretches:
                said = (offsets[:, 0] >= start) & (offsets[:, 0] < stop) & (mask[row] == 1)
                labels[row, said] = ids[row, said]
        scenes = [[self.index[id(scene)] for scene in shown] for _, shown in lessons]
        return dict(input_ids=ids, attention_mask=mask, labels=labels, image_attention_mask=self._sight(ids, mask, scenes)), scenes

    def _sight(self, ids, mask, scenes):
        """The image attention mask, one-hot: each token sees the latest picture before it."""
        latest = (ids == self.image_token).cumsum(1) - 1
        slots = max(1, max(map(len, scenes)))
        return ((latest.unsqueeze(-1) == torch.arange(slots)) & (mask == 1).unsqueeze(-1)).long()


def gather(rows, scenes):
    """Values of the chosen scenes [B,I,...], zero where a prompt has fewer pictures."""
    slots = max(1, max(map(len, scenes)))
    out = torch.zeros(len(scenes), slots, *rows.shape[1:], dtype=rows.dtype)
    for i, chosen in enumerate(scenes):
        if chosen:
            out[i, :len(chosen)] = rows[chosen]
    return out
