"""A training loop that can be stopped at any time and resumes where it was."""

import math
import time
from pathlib import Path

import torch

import ranks


def schedule(step, steps):
    """Factor of the learning rate: linear warm-up, then cosine decay to 1/50."""
    warmup = min(200, steps // 10)
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return 0.02 + 0.98 * (1 + math.cos(math.pi * done)) / 2


class Loop:
    """Trains `modules` for `steps` steps on `loss_of(number)`.

    Each step of each process has a number of its own. The state is saved to `path` once a minute.
    """

    def __init__(self, path, modules, rate, steps):
        self.path, self.modules, self.rate, self.steps = Path(path), modules, rate, steps
        parameters = {id(p): p for m in modules for p in m.parameters() if p.requires_grad}
        matrices = [p for p in parameters.values() if p.ndim > 1]
        others = [p for p in parameters.values() if p.ndim <= 1]
        self.parameters = matrices + others
        groups = [dict(params=matrices, weight_decay=0.02), dict(params=others, weight_decay=0.0)]
        self.optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), fused=True)
        self.step = 0

    def run(self, loss_of, report=None, every=250):
        ranks.wait()
        self._load()
        average, saved, started = None, time.time(), time.time()
        while self.step < self.steps:
            loss = self._update(loss_of(self.step * ranks.RANKS + ranks.RANK))
            average = loss if average is None else 0.98 * average + 0.02 * loss
            self.step += 1
            if ranks.RANK == 0 and (self.step % every == 0 or self.step == self.steps):
                seen = report() if report else ""
                done, seconds = f"{self.path.stem} {self.step}/{self.steps}", time.time() - started
                print(f"{done} loss {average:.4f} {seen} {seconds:.0f}s", flush=True)
            if ranks.RANK == 0 and (time.time() - saved > 60 or self.step == self.steps):
                self._save()
                saved = time.time()

    def _update(self, loss):
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * schedule(self.step, self.steps)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        ranks.average_gradients(self.parameters)
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        return loss.item()

    def _save(self):
        state = dict(step=self.step, optimizer=self.optimizer.state_dict(), modules=[m.state_dict() for m in self.modules])
        torch.save(state, self.path.with_suffix(".part"))
        self.path.with_suffix(".part").replace(self.path)

    def _load(self):
        if not self.path.exists():
            return
        state = torch.load(self.path)
        self.step = state["step"]
        self.optimizer.load_state_dict(state["optimizer"])
        for module, weights in zip(self.modules, state["modules"]):
            module.load_state_dict(weights)
