"""How much a word for a thing looks at that thing, measured with `idefics attend` on held-out scenes.

    python pointing.py EXECUTABLE [--count 500] [options of attend, such as --rollout or --layer 1]

For every thing whose kind is named in the caption exactly once, of captions that are right: which part of
the word's attention to patches is on the patches of the thing's box (a patch that is partly in the box
counts in part), against the box's share of the picture. The same for the word of its colour.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

from pool import HELD_OUT, picture_of
from talk import caption
from world import sample_scene

UNSEEN = HELD_OUT + 1_000_000  # as in evaluate.py


def overlaps(low, high, cells):
    """How much of each of `cells` equal parts of 0 to 1 is between low and high."""
    return [max(0.0, min(high * cells, i + 1) - max(low * cells, i)) for i in range(cells)]


def inside(thing, patches):
    """The part of the attention that is in the thing's box, its share of the picture, and whether the strongest patch is in it."""
    half, all_rows = thing.size / 2, len(patches)
    rows, columns = overlaps(thing.y - half, thing.y + half, all_rows), overlaps(thing.x - half, thing.x + half, len(patches[0]))
    part = [[share * rows[y] * columns[x] for x, share in enumerate(row)] for y, row in enumerate(patches)]
    _, y, x = max((share, y, x) for y, row in enumerate(patches) for x, share in enumerate(row))
    area = sum(rows) * sum(columns) / (all_rows * len(columns))
    return sum(map(sum, part)) / sum(map(sum, patches)), area, rows[y] * columns[x] >= 0.5


def attend(executable, model, scene, seed, options):
    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        picture_of(scene, seed).save(file.name)
        command = [executable, "attend", file.name, "--json", "--quiet", "--threads", "1", "--model", model, *options]
        return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("executable")
    parser.add_argument("--count", type=int, default=500)
    chosen, options = parser.parse_known_args()
    found, right, class_token, learned, words = {"kind": [], "colour": []}, 0, 0.0, 0.0, 0
    for seed in range(UNSEEN, UNSEEN + chosen.count):
        scene = sample_scene(seed)
        answer = attend(chosen.executable, str(Path(__file__).parent), scene, seed, options)
        if answer["text"].strip() != caption(scene):
            continue
        right += 1
        for word in answer["words"]:
            class_token += word["pictures"][0]["class_token"]
            learned += word["pictures"][0]["learned_latents"]
            words += 1
            for sort, points in found.items():
                named = [thing for thing in scene.things if getattr(thing, sort) == word["text"].strip(".,")]
                if len(named) == 1:
                    points.append((len(scene.things), *inside(named[0], word["pictures"][0]["patches"])))
    print(f"{right} of {chosen.count} captions are right; of the attention of their words, the class token has "
          f"{class_token / words:.1%}, learned latents {learned / words:.1%}")
    for sort, points in found.items():
        for things in (None, 1, 2, 3):
            some = [p for p in points if things in (None, p[0])]
            if some:
                mean = [sum(p[i] for p in some) / len(some) for i in (1, 2, 3)]
                more = sum(p[1] > p[2] for p in some)
                print(f"word for a {sort}, {things or 'any number of'} thing{'' if things == 1 else 's'}: {mean[0]:.1%} in the box, whose "
                      f"area is {mean[1]:.1%}; more than the area: {more} of {len(some)}; strongest patch in the box: {mean[2]:.1%}")


if __name__ == "__main__":
    main()
