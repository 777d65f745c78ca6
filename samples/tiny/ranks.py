"""Data-parallel training: each process has its own lessons, and all take the same steps.

Start the processes with `torchrun --nproc-per-node N train.py …`. On a busy machine, processes with
one thread each are far faster than one process with several threads. In a single process, these
functions have no effect.
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
    """Replaces each gradient by its mean over the processes."""
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
    """The rows of all processes in the order of ranks; each must pass the same number of rows."""
    if RANKS == 1:
        return rows
    parts = [torch.empty_like(rows) for _ in range(RANKS)]
    distributed.all_gather(parts, rows.contiguous())
    return torch.cat(parts)
