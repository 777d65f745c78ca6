"""The little world of the embedded checkpoint: one to three coloured things on a pale background.

A scene is data (`Scene`), made from a seed; `draw` turns it into a picture of any size. Two things
are `left of` or `above` one another along the axis on which they are further apart, and never near
the diagonal; three things are in a row: on the left, in the middle and on the right. Things never
overlap.
"""

import math
import random
from dataclasses import dataclass

from PIL import Image, ImageDraw

COLOURS = {
    "red": (220, 38, 38), "orange": (245, 130, 20), "yellow": (245, 205, 30), "green": (34, 160, 70),
    "blue": (37, 90, 225), "purple": (125, 50, 180), "pink": (245, 120, 180), "brown": (140, 85, 45), "black": (45, 45, 52),
}
KINDS = ("circle", "square", "triangle", "star", "heart", "moon", "sun", "tree", "flower", "mushroom", "apple", "house", "car",
         "boat", "fish", "cat")
BACKGROUNDS = ((255, 255, 255), (255, 248, 232), (226, 240, 252), (230, 247, 234), (240, 234, 250), (238, 238, 238))
SKY, MEADOW = (222, 239, 253), (206, 235, 200)

# The role of a thing in its scene: its position if alone, else its place in a pair or row of three.
ROLES = ("alone: middle", "alone: left", "alone: right", "alone: top", "alone: bottom",
         "left of", "right of", "above", "below", "left", "middle", "right")
RELATIONS = {"left of": "right of", "above": "below"}


@dataclass(frozen=True)
class Thing:
    """One thing: `x`, `y` (centre) and `size` are fractions of the picture's side."""
    kind: str
    colour: str
    x: float
    y: float
    size: float
    rgb: tuple

    @property
    def name(self):
        return f"{self.colour} {self.kind}"

    def overlaps(self, other):
        reach = 0.52 * (self.size + other.size)
        return abs(self.x - other.x) < reach and abs(self.y - other.y) < reach


@dataclass(frozen=True)
class Scene:
    """Things in the order in which a caption names them, and the role of each."""
    things: tuple
    roles: tuple
    backdrop: tuple      # upper and lower colour, and the height where they meet; None: a gradient


def sample_scene(seed, count=None):
    """The scene of a seed, the same on every machine."""
    rng = random.Random(f"scene {seed}")
    count = count or rng.choices((1, 2, 3), weights=(30, 45, 25))[0]
    while True:
        things = [_sample_thing(rng, count) for _ in range(count)]
        arranged = _arrange(things)
        if arranged:
            return Scene(*arranged, _sample_backdrop(rng))


def _sample_backdrop(rng):
    base = rng.choice(BACKGROUNDS)
    style = rng.random()
    if style < 0.25:
        return SKY, MEADOW, rng.uniform(0.5, 0.8)
    return base, rng.choice(BACKGROUNDS) if style < 0.55 else base, None


def _sample_thing(rng, count):
    low, high = {1: (0.34, 0.66), 2: (0.30, 0.46), 3: (0.27, 0.33)}[count]
    size = rng.uniform(low, high)
    edge = size / 2 + 0.01
    colour = rng.choice(tuple(COLOURS))
    shade = rng.uniform(0.92, 1.06)
    rgb = tuple(min(255, max(0, round(c * shade + rng.uniform(-8, 8)))) for c in COLOURS[colour])
    return Thing(rng.choice(KINDS), colour, rng.uniform(edge, 1 - edge), rng.uniform(edge, 1 - edge), size, rgb)


def _arrange(things):
    """Order and roles, or None when the arrangement is ambiguous (the caller draws again)."""
    if len({t.name for t in things}) < len(things):
        return None
    if any(a.overlaps(b) for i, a in enumerate(things) for b in things[:i]):
        return None
    return (_alone, _pair, _row)[len(things) - 1](things)


def _alone(things):
    dx, dy = things[0].x - 0.5, things[0].y - 0.5
    far, near = max(abs(dx), abs(dy)), min(abs(dx), abs(dy))
    if far < 0.07:
        return tuple(things), ("alone: middle",)
    if far < 0.13 or near > 0.7 * far:
        return None
    side = ("left" if dx < 0 else "right") if abs(dx) > abs(dy) else ("top" if dy < 0 else "bottom")
    return tuple(things), (f"alone: {side}",)


def _pair(things):
    dx, dy = abs(things[0].x - things[1].x), abs(things[0].y - things[1].y)
    if min(dx, dy) > 0.7 * max(dx, dy):
        return None
    relation = "left of" if dx > dy else "above"
    first, second = sorted(things, key=lambda t: t.x if dx > dy else t.y)
    return (first, second), (relation, RELATIONS[relation])


def _row(things):
    row = sorted(things, key=lambda t: t.x)
    if min(row[1].x - row[0].x, row[2].x - row[1].x) < 0.2:
        return None
    return tuple(row), ("left", "middle", "right")


# ---- drawing ----

def draw(scene, size, oversample=1):
    """The picture of a scene, `size` pixels wide and high; `oversample` > 1 smooths the edges."""
    side = size * oversample
    picture = _backdrop(scene.backdrop, side)
    pen = ImageDraw.Draw(picture)
    for thing in scene.things:
        _DRAWERS[thing.kind](_Brush(pen, thing, side))
    return picture if oversample == 1 else picture.resize((size, size), Image.Resampling.LANCZOS)


def _backdrop(colours, side):
    top, bottom, horizon = colours
    picture = Image.new("RGB", (side, side), top)
    if horizon:
        picture.paste(bottom, (0, round(horizon * side), side, side))
    if horizon or top == bottom:
        return picture
    strip = Image.new("RGB", (1, 2))
    strip.putdata([top, bottom])
    return strip.resize((side, side), Image.Resampling.BILINEAR)


class _Brush:
    """Draws in the thing's own coordinates, from (-1, -1), upper left, to (1, 1), lower right."""

    def __init__(self, pen, thing, side):
        self.pen, self.half = pen, thing.size * side / 2
        self.x, self.y = thing.x * side, thing.y * side
        self.rgb = thing.rgb
        self.dark = tuple(round(c * 0.62) for c in thing.rgb)

    def _at(self, points):
        return [(self.x + px * self.half, self.y + py * self.half) for px, py in points]

    def polygon(self, points, fill=None):
        self.pen.polygon(self._at(points), fill=fill or self.rgb)

    def disc(self, x, y, rx, ry=None, fill=None):
        ry = rx if ry is None else ry
        self.pen.ellipse(self._at([(x - rx, y - ry), (x + rx, y + ry)]), fill=fill or self.rgb)

    def box(self, left, top, right, bottom, fill=None):
        self.pen.rectangle(self._at([(left, top), (right, bottom)]), fill=fill or self.rgb)


WHITE, INK, BARK, STALK, GLASS = (255, 255, 255), (20, 20, 26), (120, 78, 44), (70, 150, 60), (205, 230, 250)


def _arc(x, y, radius, start, stop, steps=40):
    angles = (math.radians(start + (stop - start) * i / steps) for i in range(steps + 1))
    return [(x + radius * math.cos(a), y + radius * math.sin(a)) for a in angles]


def _circle(b):
    b.disc(0, 0, 0.95)


def _square(b):
    b.box(-0.88, -0.88, 0.88, 0.88)


def _triangle(b):
    b.polygon([(0, -0.95), (1, 0.85), (-1, 0.85)])


def _star(b):
    tips = [(1.0 if i % 2 == 0 else 0.42, math.pi * (i / 5 - 0.5)) for i in range(10)]
    b.polygon([(r * math.cos(a), r * math.sin(a) + 0.08) for r, a in tips])


def _heart(b):
    b.disc(-0.47, -0.35, 0.51)
    b.disc(0.47, -0.35, 0.51)
    b.polygon([(-0.93, -0.12), (0.93, -0.12), (0, 0.98)])


def _moon(b):
    b.polygon(_arc(0.1, 0, 0.98, 55, 305) + _arc(0.62, 0, 0.81, 268, 92))


def _tree(b):
    b.box(-0.16, 0.2, 0.16, 1, BARK)
    for x, y in ((-0.42, -0.05), (0.42, -0.05), (0, -0.45)):
        b.disc(x, y, 0.52)


def _sun(b):
    for i in range(8):
        left, _, right = _arc(0, 0, 0.6, 45 * i - 20, 45 * i + 20, 2)
        b.polygon([left, _arc(0, 0, 1, 45 * i, 45 * i, 1)[0], right])
    b.disc(0, 0, 0.52)


def _flower(b):
    b.box(-0.08, 0, 0.08, 1, STALK)
    b.disc(0.28, 0.72, 0.24, 0.12, STALK)
    for x, y in _arc(0, -0.32, 0.42, -90, 198, 4):
        b.disc(x, y, 0.28)
    b.disc(0, -0.32, 0.22, fill=WHITE)


def _mushroom(b):
    b.box(-0.27, 0, 0.27, 0.95, (238, 222, 196))
    b.polygon(_arc(0, 0.15, 1, 180, 360))
    for x, y, r in ((-0.45, -0.2, 0.17), (0.1, -0.5, 0.19), (0.55, -0.08, 0.14)):
        b.disc(x, y, r, fill=WHITE)


def _apple(b):
    b.box(-0.06, -0.85, 0.06, -0.3, BARK)
    b.disc(0.36, -0.78, 0.32, 0.16, STALK)
    for s in (-1, 1):
        b.disc(s * 0.34, 0.2, 0.56, 0.74)


def _car(b):
    b.polygon([(-0.62, 0.05), (-0.38, -0.55), (0.38, -0.55), (0.66, 0.05)])
    b.polygon([(-0.42, 0), (-0.27, -0.4), (0.27, -0.4), (0.45, 0)], GLASS)
    b.box(-1, 0, 1, 0.42)
    for s in (-1, 1):
        b.disc(s * 0.52, 0.44, 0.25, fill=INK)
        b.disc(s * 0.52, 0.44, 0.1, fill=WHITE)


def _boat(b):
    b.box(-0.05, -0.95, 0.05, 0.45, BARK)
    b.polygon([(0.12, -0.9), (0.12, 0.25), (0.85, 0.25)])
    b.polygon([(-0.12, -0.6), (-0.12, 0.25), (-0.65, 0.25)], WHITE)
    b.polygon([(-1, 0.4), (1, 0.4), (0.62, 0.92), (-0.62, 0.92)])


def _house(b):
    b.box(-0.72, -0.15, 0.72, 0.95)
    b.polygon([(-1, -0.1), (1, -0.1), (0, -0.98)], b.dark)
    b.box(-0.2, 0.3, 0.2, 0.95, WHITE)


def _fish(b):
    b.disc(-0.18, 0, 0.8, 0.52)
    b.polygon([(0.4, 0), (1, -0.58), (1, 0.58)])
    b.disc(-0.55, -0.12, 0.15, fill=WHITE)
    b.disc(-0.58, -0.12, 0.08, fill=INK)


def _cat(b):
    b.disc(0, 0.18, 0.86, 0.76)
    for s in (-1, 1):
        b.polygon([(s * 0.85, 0.1), (s * 0.8, -0.98), (s * 0.15, -0.45)])
        b.disc(s * 0.34, 0.05, 0.15, 0.18, WHITE)
        b.disc(s * 0.34, 0.08, 0.08, 0.12, INK)
    b.polygon([(-0.12, 0.38), (0.12, 0.38), (0, 0.52)], INK)


_DRAWERS = {name: globals()[f"_{name}"] for name in KINDS}
