"""What the generators share: pictures to encode, metadata, and one random generator."""

import io

import numpy as np
from PIL import Image

random = np.random.default_rng(5)


def seed(number):
    """Begins again: the generators then write the files of this seed."""
    random.bit_generator.state = np.random.default_rng(number).bit_generator.state


def scene(w, h, c):
    """Waves with noise: smooth enough for codecs, rough enough to distinguish filters."""
    y, x = np.mgrid[0:h, 0:w]
    a = np.stack([127 + 100 * np.sin(x / 7 + k) + 27 * np.cos(y / 5 * (k + 1)) for k in range(c)], -1)
    return np.clip(a + random.normal(0, 12, (h, w, c)), 0, 255).astype(np.uint8)


def picture(mode, w=23, h=17):
    rgb = Image.fromarray(scene(w, h, 3))
    a = Image.fromarray(scene(w, h, 1)[..., 0])
    if mode == "RGBA":
        rgb.putalpha(a)
        return rgb
    if mode == "LA":
        g = rgb.convert("L")
        g.putalpha(a)
        return g
    if mode == "P":
        return rgb.quantize(32)
    if mode == "I;16":
        return Image.fromarray((np.array(rgb.convert("L")).astype(np.uint16) * 3))
    return rgb.convert(mode)


def encoded(image, kind, **options):
    s = io.BytesIO()
    image.save(s, kind, **options)
    return s.getvalue()


def exif(orientation):
    e = Image.Exif()
    e[0x112] = orientation
    e[0x11A] = 72.0
    e[0x10F] = "Maker"
    return e


XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="%d"/></x:xmpmeta>'
