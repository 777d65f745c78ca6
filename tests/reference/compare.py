"""Compares a fresh recording with the committed one: `compare.py FRESH COMMITTED`.

Bytes must be equal, except that floats of another machine may differ by its rounding: those in
safetensors by 1e-4 of the tensor's largest value (16-bit logits by 5 %), margins in JSON by 1e-3.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors import safe_open


OUTSIDE = ("hashes_llama.json", "photographs.json")  # recorded with IDEFICS_TEST_DATA only


def same_numbers(a, b):
    if isinstance(a, float) or isinstance(b, float):
        return abs(a - b) <= 1e-3
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same_numbers(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same_numbers, a, b))
    return a == b


def same_tensors(fresh, committed):
    with safe_open(fresh, "pt") as a, safe_open(committed, "pt") as b:
        return sorted(a.keys()) == sorted(b.keys()) and all(same_tensor(k, a.get_tensor(k), b.get_tensor(k)) for k in a.keys())


def same_tensor(name, a, b):
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if not a.is_floating_point():
        return torch.equal(a, b)
    share = 0.05 if name.endswith(("_bf16", "_f16")) else 1e-4
    a, b = a.float(), b.float()
    apart = (a - b)[(a != b) & ~(a.isnan() & b.isnan())].abs()  # an infinity equals only itself
    largest = b[b.isfinite()].abs().max().item() if b.isfinite().any() else 0
    return bool((apart <= share * max(1e-6, largest)).all())


def same(fresh, committed):
    if fresh.read_bytes() == committed.read_bytes():
        return True
    if fresh.suffix == ".safetensors":
        return same_tensors(fresh, committed)
    return fresh.suffix == ".json" and same_numbers(json.loads(fresh.read_text()), json.loads(committed.read_text()))


def files(folder):
    return {p.relative_to(folder) for p in folder.rglob("*") if p.is_file() and p.name != "README.md"}


def main():
    fresh, committed = map(Path, sys.argv[1:])
    both = files(fresh) & files(committed)
    faults = [f"differs: {p}" for p in sorted(both) if not same(fresh / p, committed / p)]
    faults += [f"not recorded again: {p}" for p in sorted(files(committed) - both) if p.name not in OUTSIDE]
    faults += [f"not committed: {p}" for p in sorted(files(fresh) - both)]
    print("\n".join(faults) or f"{len(both)} files agree")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
