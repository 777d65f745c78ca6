"""Common to all recording scripts: output folder, deterministic generator, hash, versions."""

import argparse
import importlib.metadata
import json
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import numpy

REPOSITORY = Path(__file__).resolve().parents[2]
GOLDEN = REPOSITORY / "tests" / "golden" / "data"
MASK = (1 << 64) - 1

FNV_OFFSET = 14695981039346656037
FNV_PRIME = 1099511628211


def output_folder():
    """The folder to write to: tests/golden/data or, for regenerate.sh --check, that of --out."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=GOLDEN)
    return parser.parse_args().out


def mix64(z):
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


class SplitMix64:
    """Vigna's splitmix64. `SplitMix64.of(seed, i)` is the i-th independent stream of a seed."""

    def __init__(self, state):
        self.state = state & MASK

    @classmethod
    def of(cls, seed, index):
        return cls(cls(seed + index).next())

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        return mix64(self.state)

    def below(self, n):
        return self.next() % n

    def pick(self, items):
        return items[self.below(len(items))]


def fnv1a(data):
    """64-bit FNV-1a of bytes."""
    h = FNV_OFFSET
    for byte in data:
        h = ((h ^ byte) * FNV_PRIME) & MASK
    return h


def fnv1a_many(blobs):
    """64-bit FNV-1a of many byte strings at once, one byte of each per step."""
    order = sorted(range(len(blobs)), key=lambda i: -len(blobs[i]))
    lengths = numpy.array([len(blobs[i]) for i in order])
    longest = int(lengths[0]) if len(order) else 0
    table = numpy.zeros((longest, len(order)), numpy.uint8)
    for column, i in enumerate(order):
        table[: lengths[column], column] = numpy.frombuffer(blobs[i], numpy.uint8)
    h = numpy.full(len(order), FNV_OFFSET, numpy.uint64)
    prime = numpy.uint64(FNV_PRIME)
    active = len(order)
    for step in range(longest):
        while lengths[active - 1] <= step:
            active -= 1
        h[:active] = (h[:active] ^ table[step, :active]) * prime
    result = [0] * len(order)
    for column, i in enumerate(order):
        result[i] = int(h[column])
    return result


def hex64(value):
    """16 hexadecimal digits, since not every JSON reader keeps 64-bit numbers."""
    return f"{value:016x}"


def versions():
    names = ("transformers", "torch", "tokenizers", "pillow", "sentencepiece", "safetensors", "numpy")
    return {name: importlib.metadata.version(name) for name in names}


def metadata(seed, **more):
    """The __metadata__ of a safetensors file: strings only."""
    return {"versions": json.dumps(versions(), sort_keys=True), "seed": str(seed)} | {k: str(v) for k, v in more.items()}


def write_json(path, value, indent=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, indent=indent) + "\n", encoding="utf-8")


def write_rows(path, head, key, rows):
    """Writes a JSON object whose last member `key` is an array with one compact row per line: files
    are small, and diffs stay readable."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows)
    body = json.dumps(head, ensure_ascii=False, separators=(",", ":"))[:-1]
    path.write_text(f'{body},\n"{key}":[\n{lines}\n]}}\n', encoding="utf-8")
