"""Pictures of every kind that the processor may read, and the results of IdeficsImageProcessor.

Writes tests/golden/data/pictures/{corpus.safetensors, expected.json}: the encoded files by name,
and 64-bit FNV-1a hashes of the RGB pixels and of pixel_values at two sizes.
"""

import io
import json
import struct
import zlib

import numpy as np
import torch
from common import fnv1a, output_folder
from PIL import Image
from safetensors.torch import save_file
from transformers import IdeficsImageProcessor
from transformers.models.idefics.image_processing_idefics import convert_to_rgb

SEED, SIZES = 7, (30, 224)
SIDES = ((64, 48), (37, 53), (90, 60), (8, 8), (17, 2), (2, 9), (160, 100), (5, 4))
random = np.random.default_rng(SEED)


def scene(width, height, channels):
    """Waves with noise: smooth enough for codecs, rough enough to distinguish filters."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [127 + 100 * np.sin(x / 7 + c) + 27 * np.cos(y / 5 * (c + 1)) for c in range(channels)]
    return np.clip(np.stack(waves, -1) + random.normal(0, 12, (height, width, channels)), 0, 255).astype(np.uint8)


def encoded(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def raw_png(width, height, depth, colour_type, row_bytes, extra=b""):
    """PNG forms that Pillow cannot write."""
    rows = b"".join(b"\0" + random.bytes(row_bytes) for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def jpegs(rgb):
    for subsampling in (0, 1, 2):
        for quality in (50, 75, 95):
            yield f"s{subsampling}q{quality}.jpg", encoded(rgb, "JPEG", quality=quality, subsampling=subsampling, progressive=quality == 75, optimize=True)
    orientation = Image.Exif()
    orientation[0x112] = 6
    yield "exif.jpg", encoded(rgb, "JPEG", exif=orientation)
    yield "grey.jpg", encoded(rgb.convert("L"), "JPEG")
    yield "cmyk.jpg", encoded(rgb.convert("CMYK"), "JPEG")


def pngs_and_others(rgb, alpha):
    grey, palette = rgb.convert("L"), rgb.quantize(32)
    rgba, grey_alpha = rgb.copy(), rgb.convert("L")
    rgba.putalpha(alpha)
    grey_alpha.putalpha(alpha)
    first = np.array(rgb)[0, 0]
    wide = Image.fromarray((np.array(grey).astype(np.uint16) * 3).astype(np.uint16))
    png = {"rgb": (rgb, {}), "grey": (grey, {}), "one": (grey.convert("1"), {}), "palette": (palette, {}), "palette2": (rgb.quantize(4), {"bits": 2}),
           "rgba": (rgba, {}), "grey_alpha": (grey_alpha, {}), "grey16": (wide, {}), "palette_alpha": (palette, {"transparency": random.bytes(32)}),
           "palette_key": (palette, {"transparency": 3}), "rgb_key": (rgb, {"transparency": tuple(map(int, first))}), "grey_key": (grey, {"transparency": int(np.array(grey)[0, 0])})}
    for name, (image, options) in png.items():
        yield name + ".png", encoded(image, "PNG", **options)
    yield "static.gif", encoded(palette, "GIF")
    yield "key.gif", encoded(palette, "GIF", transparency=3)
    yield "animated.gif", encoded(palette, "GIF", save_all=True, append_images=[rgb.rotate(90).quantize(8)], duration=5)
    for name, image in {"rgb": rgb, "palette": palette, "grey": grey, "one": grey.convert("1"), "rgba": rgba}.items():
        yield name + ".bmp", encoded(image, "BMP")
    yield "lossy.webp", encoded(rgb, "WEBP")
    yield "lossless.webp", encoded(rgba, "WEBP", lossless=True)
    yield "lossy_alpha.webp", encoded(rgba, "WEBP")


def raw_pngs():
    for width, height in ((20, 13), (33, 7)):
        key = chunk(b"tRNS", struct.pack(">H", 1))
        for depth in (1, 2, 4, 16):
            yield f"raw_grey{depth}.png", raw_png(width, height, depth, 0, (width * depth + 7) // 8)
            yield f"raw_grey{depth}_key.png", raw_png(width, height, depth, 0, (width * depth + 7) // 8, key)
        for kind, channels in ((2, 3), (4, 2), (6, 4)):
            yield f"raw_colour{kind}_16.png", raw_png(width, height, 16, kind, width * 2 * channels)


def corpus():
    for width, height in SIDES:
        rgb, alpha = Image.fromarray(scene(width, height, 3)), Image.fromarray(scene(width, height, 1)[..., 0])
        yield from jpegs(rgb)
        yield from pngs_and_others(rgb, alpha)
    yield from raw_pngs()


def expectation(name, data):
    image = Image.open(io.BytesIO(data))
    rgb = np.array(convert_to_rgb(image))
    entry = {"name": name, "width": image.width, "height": image.height, "rgb_hash": str(fnv1a(rgb.tobytes()))}
    for size in SIZES[: 1 + (len(data) % 4 == 0)]:  # the large size for some: hashing is slow here
        pixels = IdeficsImageProcessor(image_size=size).preprocess([image], return_tensors="pt")
        pixels = pixels if isinstance(pixels, torch.Tensor) else pixels["pixel_values"]
        entry[f"pixel_values_hash_{size}"] = str(fnv1a(pixels.numpy().astype("<f4").tobytes()))
    return entry


def main():
    folder = output_folder() / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    files = {f"{i:03d}_{name}": data for i, (name, data) in enumerate(corpus())}
    save_file({name: torch.frombuffer(bytearray(data), dtype=torch.uint8) for name, data in files.items()}, folder / "corpus.safetensors", metadata={"seed": str(SEED), "pillow": Image.__version__})
    expected = [expectation(name, data) for name, data in files.items()]
    (folder / "expected.json").write_text("[" + ",\n".join(json.dumps(e) for e in expected) + "]\n")
    print(len(files), "pictures")


if __name__ == "__main__":
    main()
