"""Compares this project with Pillow on generated files of every kind, from files and from URLs.

usage: campaign.py HASHES [--count N] [--seed N] [--damaged] [--kind KIND]

HASHES is the program of hashes.cpp (target picture-hashes). With --damaged the files are changed at
random first; then differences of where errors fall are counted, and only pixels must be equal.
"""

import argparse
import collections
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from departures import departs
from drawing import seed
from kinds import KINDS
from pillow import answers


def fnv1a(data):
    """64-bit FNV-1a: h = (h ^ byte) * prime, one after the other, in Python's integers."""
    h, prime, mask = 14695981039346656037, 1099511628211, (1 << 64) - 1
    for byte in data:
        h = (h ^ byte) * prime & mask
    return h


def damage(data, draw):
    """A few changes: bytes, bits, cuts, insertions, most of them near the start."""
    data = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        if not data:
            break
        at = draw.randrange(len(data) if draw.random() < 0.5 else min(len(data), 120))
        change = draw.randrange(6)
        if change == 0:
            data[at] = draw.randrange(256)
        elif change == 1:
            data[at] ^= 1 << draw.randrange(8)
        elif change == 2:
            del data[at:]
        elif change == 3:
            del data[at : at + draw.randrange(1, 16)]
        elif change == 4:
            data[at:at] = draw.randbytes(draw.randrange(1, 8))
        else:
            data[at] = draw.choice((0, 255, 1, 127, 128, 254, 10))
    return bytes(data)


def generated(kinds, count, number):
    """Yields (kind, name, file), the same number of each kind; contents change with every round."""
    draw = random.Random(number)
    share, extra = divmod(count, len(kinds))
    for k, kind in enumerate(kinds):
        left = share + (k < extra)
        while left > 0:
            number += 1
            seed(number)
            files = [(name, data) for name, data in KINDS[kind]().items() if not departs(f"{kind}_{name}")]
            draw.shuffle(files)
            for name, data in files[:left]:
                yield kind, name, data
            left -= len(files)


class Program:
    """The program under test: answers one line per picture, and is started again if it ends."""

    def __init__(self, path):
        self.path, self.folder = path, tempfile.TemporaryDirectory()
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [self.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, errors="replace"
        )

    def __call__(self, data, way):
        file = Path(self.folder.name) / "picture"
        file.write_bytes(data)
        self.process.stdin.write(f"{way} {file}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline().strip()
        if not line:
            self.start()
            return "crash"
        return line


def verdict(ours, theirs):
    if ours == "crash":
        return "CRASH"
    if ours.startswith("!"):
        return "both refuse" if theirs is None else "only Pillow loads"
    if theirs is None:
        return "only we load"
    return "equal" if ours == f"{theirs.width}x{theirs.height} {fnv1a(theirs.tobytes())}" else "DIFFERENT"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("hashes")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--damaged", action="store_true")
    parser.add_argument("--kind", choices=KINDS, action="append")
    options = parser.parse_args()
    program, draw = Program(options.hashes), random.Random(options.seed)
    table = collections.defaultdict(collections.Counter)
    for kind, name, data in generated(options.kind or list(KINDS), options.count, options.seed * 1000):
        if options.damaged:
            data = damage(data, draw)
        for way, theirs in zip(("white", "loaded"), answers(data)):
            ours = program(data, way)
            result = verdict(ours, theirs)
            table[kind][result] += 1
            if result not in ("equal", "both refuse"):
                print(kind, name, way, result, ours)
    total = sum(table.values(), collections.Counter())
    for kind, counts in [*table.items(), ("all", total)]:
        print(f"{kind:5}", dict(sorted(counts.items())))
    wrong = {"DIFFERENT", "CRASH"} | (set() if options.damaged else {"only we load", "only Pillow loads"})
    sys.exit(any(total[result] for result in wrong))


if __name__ == "__main__":
    main()
