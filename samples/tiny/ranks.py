"""Several processes that train one model: each has its own lessons, all take the same steps.

Start them with `torchrun --nproc-per-node N train.py …`. On a busy machine processes of one thread each get on far better
than one process of several threads. A single process needs none of this, and notices none of it.
"""

import os

import torch
from torch import distributed

RANK, RANKS = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def begin():
    if RANKS > 1:
        distributed.init_process_group("gloo")


def wait():
    if RANKS > 1:
        distributed.barrier()


def average_gradients(parameters):
    """Replaces the gradients by their mean over the processes."""
    if RANKS == 1:
        return
    for p in parameters:
        if p.grad is None:
            p.grad = torch.zeros_like(p)
    flat = torch.cat([p.grad.flatten() for p in parameters])
    distributed.all_reduce(flat)
    for p, mean in zip(parameters, (flat / RANKS).split([p.numel() for p in parameters])):
        p.grad.copy_(mean.view_as(p))


def join_rows(rows):
    """The rows of all processes, in the order of their ranks; all bring equally many."""
    if RANKS == 1:
        return rows
    parts = [torch.empty_like(rows) for _ in range(RANKS)]
    distributed.all_gather(parts, rows.contiguous())
    return torch.cat(parts)
