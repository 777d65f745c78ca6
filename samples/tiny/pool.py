"""A pool of drawn scenes as tensors: pictures as the processor resizes them, and their labels."""

import multiprocessing
import random

import numpy as np
import torch
from PIL import Image

from world import COLOURS, KINDS, ROLES, draw, sample_scene

IMAGE_SIZE, PATCH_SIZE, SLOTS = 64, 8, 3
GRID = IMAGE_SIZE // PATCH_SIZE
HELD_OUT = 10_000_000          # training uses no seed from here on
MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)


def picture_of(scene, seed):
    """A picture of the scene in one of several usual sizes, for the processor to shrink."""
    return draw(scene, random.Random(f"size {seed}").choice((160, 192, 256, 256, 320)))


def _row(seed):
    scene = sample_scene(seed)
    small = picture_of(scene, seed).resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC)
    things = np.full((SLOTS, 3), [len(KINDS), len(COLOURS), len(ROLES)])
    owners = np.full((GRID, GRID), SLOTS)
    frames = np.zeros((GRID, GRID, 3), np.float32)
    centres = (np.arange(GRID) + 0.5) / GRID
    for i, (thing, role) in enumerate(zip(scene.things, scene.roles)):
        things[i] = KINDS.index(thing.kind), list(COLOURS).index(thing.colour), ROLES.index(role)
        columns = abs(centres - thing.x) < thing.size / 2
        rows = abs(centres - thing.y) < thing.size / 2
        mine = np.ix_(rows, columns)
        owners[mine] = i
        frames[mine] = np.stack(np.broadcast_arrays((centres[columns] - thing.x) * GRID, (centres[rows, None] - thing.y) * GRID,
                                                    (thing.size - 0.4) * GRID), axis=-1)
    return np.asarray(small).transpose(2, 0, 1), things, owners.reshape(-1), frames.reshape(-1, 3)


class Pool:
    """Tensors of scenes, by index.

    `pixels` uint8 [I,3,64,64]; `things` [I,3,3]: kind, colour and role of up to three things;
    `owners` [I,P]: the thing in whose box a patch is; `frames` [I,P,3]: the offset of the patch
    from the centre of that thing, and the size of the thing, in patches.
    """

    def __init__(self, first_seed, count):
        self.seeds = range(first_seed, first_seed + count)
        with multiprocessing.Pool() as workers:
            rows = workers.map(_row, self.seeds, chunksize=500)
        self.pixels, self.things, self.owners, self.frames = (torch.from_numpy(np.stack(column)) for column in zip(*rows))

    def __len__(self):
        return len(self.seeds)

    def images(self, chosen):
        """Normalized pixels of the chosen scenes."""
        return (self.pixels[chosen].float() / 255 - MEAN) / STD

    def only(self, kinds, colours):
        """Indices of the scenes that have only things of these kinds and colours."""
        allowed = [torch.tensor([name in names for name in all_names] + [True])
                   for names, all_names in ((kinds, KINDS), (colours, COLOURS))]
        good = [allowed[i][self.things[..., i]].all(1) for i in (0, 1)]
        return (good[0] & good[1]).nonzero().squeeze(1)

    def labels(self, chosen):
        """Classes of slots [I,3,3] and patches [I,P,3], the last class being `nothing`; frames."""
        nothing = torch.tensor([len(KINDS), len(COLOURS), len(ROLES)]).expand(len(chosen), 1, 3)
        slots = self.things[chosen]
        with_nothing = torch.cat([slots, nothing], dim=1)
        owners = self.owners[chosen].unsqueeze(-1).expand(-1, -1, 3)
        return slots, with_nothing.gather(1, owners), self.frames[chosen]
