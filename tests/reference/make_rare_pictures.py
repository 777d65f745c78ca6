"""Rare and damaged pictures: forms that Pillow cannot write are patched or packed by hand.

Writes pictures/rare.safetensors with rare_expected.json (the format of make_pictures.py; {"name",
"error"} where the reference raises).
"""

import io
import json
import struct
import warnings
import zlib

import numpy as np
import torch
from common import fnv1a_many, metadata, output_folder
from make_pictures import chunk, encoded, jpegs, pngs_and_others, scene
from make_pictures import random as picture_random
from PIL import Image
from safetensors.torch import save_file
from transformers import IdeficsImageProcessor
from transformers.models.idefics.image_processing_idefics import convert_to_rgb

SEED, SIZES = 11, (30, 224)
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))  # Adam7: x0, y0, dx, dy
random = np.random.default_rng(SEED)


def picture(width, height):
    return Image.fromarray(scene(width, height, 3))


def png(width, height, depth, colour_type, body, interlaced=0, extra=b""):
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, interlaced)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


PNG_KINDS = {0: (1, (1, 2, 4, 8, 16)), 2: (3, (8, 16)), 3: (1, (1, 2, 4, 8)), 4: (2, (8, 16)), 6: (4, (8, 16))}  # channels, depths


def random_png(width, height, depth, colour_type, interlaced, extra=b""):
    """Random samples, in one pass or in the seven passes of Adam7, with filters 0 to 4 in turn."""
    bits, body = depth * PNG_KINDS[colour_type][0], b""
    for x0, y0, dx, dy in PASSES if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - x0) // dx), -(-(height - y0) // dy)
        if columns > 0 and rows > 0:
            body += b"".join(bytes([y % 5]) + random.bytes((columns * bits + 7) // 8) for y in range(rows))
    return png(width, height, depth, colour_type, body, interlaced, extra)


def png_extras(colour_type, depth):
    """The chunks before the pixels, without tRNS and, where it is allowed, with it."""
    colours = min(16, 1 << depth)
    palette = chunk(b"PLTE", random.bytes(3 * colours)) if colour_type == 3 else b""
    yield "", palette
    if colour_type == 3:
        yield "_clear", palette + chunk(b"tRNS", random.bytes(colours // 2 + 1))
        yield "_one_clear", palette + chunk(b"tRNS", b"\xff" * (colours // 2) + b"\0")
    elif colour_type < 3:
        yield "_clear", chunk(b"tRNS", struct.pack(">H", (1 << min(depth, 8)) - 1) * PNG_KINDS[colour_type][0])


def pngs():
    for colour_type, (_, depths) in PNG_KINDS.items():
        for depth in depths:
            for mark, extra in png_extras(colour_type, depth):
                for interlaced in (0, 1):
                    yield f"kind{colour_type}_{depth}{mark}{'_adam7' * interlaced}.png", random_png(21, 13, depth, colour_type, interlaced, extra)
                yield f"adam7_{colour_type}_{depth}{mark}_small.png", random_png(*random.integers(1, 9, 2).tolist(), depth, colour_type, 1, extra)
    yield "palette_short.png", random_png(9, 4, 4, 3, 0, chunk(b"PLTE", random.bytes(15)))
    for name, extra in (("gamma", chunk(b"gAMA", struct.pack(">I", 45455))), ("background", chunk(b"bKGD", struct.pack(">HHH", 9, 9, 9))), ("text", chunk(b"tEXt", b"Title\0x"))):
        yield f"{name}.png", random_png(7, 5, 8, 2, 0, extra)
    frames = [picture(24, 18), picture(24, 18)]
    yield "animated.png", encoded(frames[0], "PNG", save_all=True, append_images=frames[1:])


def sampling(data, factor):
    """The same file with another sampling of its first component: another geometry with the same
    number of blocks."""
    at = next(i for i in range(2, len(data)) if data[i - 2] == 0xFF and data[i - 1] in (0xC0, 0xC2))
    return data[: at + 9] + bytes([factor]) + data[at + 10 :]


def adobe(transform):
    return b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes([transform])


def jpeg_forms():
    for width, height in ((64, 48), (128, 96)):
        wide, quarter = (encoded(picture(width, height), "JPEG", quality=88, subsampling=s) for s in (1, 2))
        yield f"440_{width}.jpg", sampling(wide, 0x12)
        yield f"411_{width}.jpg", sampling(quarter, 0x41)
        cmyk = encoded(picture(width, height).convert("CMYK"), "JPEG", quality=88)
        at = cmyk.index(b"Adobe")
        yield f"ycck_{width}.jpg", cmyk[: at + 11] + b"\x02" + cmyk[at + 12 :]
        yield f"cmyk_no_adobe_{width}.jpg", cmyk[: at - 4] + cmyk[at + 12 :]
        full = encoded(picture(width, height), "JPEG", quality=88, subsampling=0)
        for transform in (0, 1):
            yield f"adobe_{transform}_{width}.jpg", full[:2] + adobe(transform) + full[20:]
    for width, height in ((61, 47), (15, 17), (16, 16), (1, 1), (3, 40), (40, 3), (50, 1), (150, 70), (257, 9)):
        for s in (0, 1, 2):
            yield f"odd_{width}x{height}_s{s}.jpg", encoded(picture(width, height), "JPEG", quality=30 + 20 * s, subsampling=s, progressive=s == 1)
    yield "restart_blocks.jpg", encoded(picture(70, 50), "JPEG", restart_marker_blocks=3)
    yield "restart_rows.jpg", encoded(picture(70, 50), "JPEG", restart_marker_rows=1, progressive=True)
    yield "quality_1.jpg", encoded(picture(70, 50), "JPEG", quality=1)
    yield "quality_100.jpg", encoded(picture(70, 50), "JPEG", quality=100)
    yield "tail.jpg", encoded(picture(20, 20), "JPEG") + b"behind the end"


def bmp(width, height, bits, body, palette=b"", compression=0, masks=b"", header=40):
    """Masks follow a header of 40 bytes, and are part of a longer one."""
    rest = masks.ljust(header - 40, b"\0") if header > 40 else masks
    start = 54 + len(rest) + len(palette)
    about = struct.pack("<IiiHHIIiiII", header, width, height, 1, bits, compression, len(body), 2835, 2835, len(palette) // 4, 0)
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + about + rest + palette + body


def bmps():
    rows = lambda bits: random.bytes((13 * bits + 31) // 32 * 4 * 11)
    colours = random.bytes(1024)
    for height in (11, -11):  # negative: the first row is the top
        for bits in (1, 4, 8, 16, 24, 32):
            yield f"bits{bits}_{height}.bmp", bmp(13, height, bits, rows(bits), colours[: 4 << bits] if bits <= 8 else b"")
    for name, bits, masks in (("565", 16, (0xF800, 0x07E0, 0x001F)), ("555", 16, (0x7C00, 0x03E0, 0x001F)), ("888", 24, (0xFF0000, 0xFF00, 0xFF)),
                              ("8888", 32, (0xFF0000, 0xFF00, 0xFF)), ("odd", 32, (0xFF, 0xFF00, 0xFF0000)), ("444", 16, (0xF00, 0xF0, 0xF))):
        yield f"fields{name}.bmp", bmp(13, 11, bits, rows(bits), b"", 3, struct.pack("<III", *masks))
    for name, masks in (("bgra", (0xFF0000, 0xFF00, 0xFF, 0xFF000000)), ("rgba", (0xFF, 0xFF00, 0xFF0000, 0xFF000000)), ("none", (0, 0, 0, 0)), ("bgrx", (0xFF0000, 0xFF00, 0xFF, 0))):
        yield f"fields_{name}.bmp", bmp(13, 11, 32, rows(32), b"", 3, struct.pack("<IIII", *masks), 108)
    grey = b"".join(bytes([i, i, i, 0]) for i in range(256))
    yield "grey8.bmp", bmp(13, 11, 8, rows(8), grey)
    yield "grey4.bmp", bmp(13, 11, 4, rows(4), grey[:64])
    yield "short_palette.bmp", bmp(13, 11, 8, rows(8), colours[:40])
    yield "old.bmp", b"BM" + struct.pack("<IHHI", 0, 0, 0, 74) + struct.pack("<IHHHH", 12, 13, 11, 1, 4) + colours[:48] + rows(4)
    encoded_runs = b"".join(bytes([6, y, 0, 4, y, 1, 2, 3, 3, 5, 0, 0]) for y in range(11)) + b"\0\1"
    jump = bytes([6, 1, 0, 2, 0, 0, 3, 2]) + bytes([13, 7]) * 11
    for name, compression in (("rle8", 1), ("rle4", 2)):
        yield f"{name}.bmp", bmp(13, 11, 8 // compression, encoded_runs, colours[:64], compression)
        yield f"{name}_jump.bmp", bmp(13, 11, 8 // compression, jump, colours[:64], compression)
        yield f"{name}_cut.bmp", bmp(13, 11, 8 // compression, encoded_runs[:60], colours[:64], compression)


def gif(canvas, frame, interlaced=False, clear=None, background=0, grey=False, local=False):
    """One frame of random indices at `frame` = (x, y, width, height), in uncompressed LZW codes."""
    x, y, width, height = frame
    bits, codes = 0, []
    palette = bytes(i // 3 for i in range(48)) if grey else random.bytes(48)
    for i, index in enumerate(random.integers(0, 16, width * height).tolist()):
        codes += ([16] if i % 14 == 0 else []) + [index]  # a clear code early enough keeps codes 5 bits wide
    packed = sum(code << (5 * i) for i, code in enumerate(codes + [17])).to_bytes((5 * len(codes) + 12) // 8, "little")
    blocks = b"".join(bytes([len(packed[i : i + 255])]) + packed[i : i + 255] for i in range(0, len(packed), 255))
    control = b"" if clear is None else b"\x21\xf9\x04\x01\x00\x00" + bytes([clear]) + b"\0"
    head = b"GIF89a" + struct.pack("<HHBBB", *canvas, 0x33 | 0x80 * (not local), background, 0) + palette * (not local)
    about = struct.pack("<HHHHB", x, y, width, height, 0x40 * interlaced | 0x83 * local) + palette * local
    return head + control + b"," + about + b"\4" + blocks + b"\0;"


def gifs():
    for clear in (None, 3):
        for interlaced in (False, True):
            mark = f"{'clear' if clear else 'plain'}{'_interlaced' if interlaced else ''}"
            yield f"{mark}.gif", gif((23, 17), (0, 0, 23, 17), interlaced, clear)
            yield f"{mark}_small_frame.gif", gif((23, 17), (4, 5, 11, 7), interlaced, clear, 5)
        yield f"{'clear' if clear else 'plain'}_grey.gif", gif((9, 7), (1, 1, 8, 6), False, clear, 0, True)
        yield f"{'clear' if clear else 'plain'}_local.gif", gif((9, 7), (1, 1, 8, 6), False, clear, 0, False, True)
    yield "frame_beyond_screen.gif", gif((8, 8), (4, 4, 8, 8))
    yield "frame_larger_than_screen.gif", gif((8, 8), (0, 0, 11, 9))
    whole = gif((23, 17), (0, 0, 23, 17))
    yield "half.gif", whole[: len(whole) // 2]
    yield "no_trailer.gif", whole[:-2]
    yield "large.gif", encoded(picture(120, 90).quantize(64), "GIF")


def riff(kind, body):
    return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def webp_on_canvas(alpha):
    """An animation with its first frame, 20 x 10, at (6, 8) of a canvas of 40 x 30."""
    small = lambda value: struct.pack("<I", value)[:3]
    frame = encoded(picture(20, 10), "WEBP", lossless=True)[12:]
    moved = small(6 // 2) + small(8 // 2) + small(19) + small(9) + small(40) + b"\0" + frame
    canvas = bytes([0x02 | 0x10 * alpha, 0, 0, 0]) + small(39) + small(29)
    return riff(b"RIFF", b"WEBP" + riff(b"VP8X", canvas) + riff(b"ANIM", b"\xff\0\0\xff\0\0") + riff(b"ANMF", moved) * 2)


def webps():
    frames = [picture(40, 30), picture(40, 30)]
    yield "animated.webp", encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:])
    for alpha in (False, True):
        yield f"animated_canvas_{'clear' if alpha else 'opaque'}.webp", webp_on_canvas(alpha)
    for width, height in ((1, 1), (40, 1), (40, 3), (150, 70)):
        yield f"lossy_{width}x{height}.webp", encoded(picture(width, height), "WEBP", quality=70)
        yield f"lossless_{width}x{height}.webp", encoded(picture(width // 2 + 1, height), "WEBP", lossless=True)


def sizes():
    for width, height in ((1, 1), (2, 1), (1, 2), (3, 3), (1, 3), (50, 3), (50, 1), (1, 50), (3, 50), (30, 30), (224, 2), (31, 29), (150, 70), (7, 280)):
        yield f"size_{width}x{height}.png", encoded(picture(width, height), "PNG")


def rare():
    for forms in (pngs(), jpeg_forms(), bmps(), gifs(), webps(), sizes()):
        yield from forms
    for name, data in broken():
        yield f"broken_{name}", data


def whole_pictures():
    """One small file of each format, to be damaged."""
    small = picture(20, 14)
    alpha = Image.fromarray(scene(20, 14, 1)[..., 0])
    kept = ("rgb.png", "palette.png", "static.gif", "rgb.bmp", "lossy.webp", "s2q75.jpg", "s0q50.jpg")
    return {name: data for name, data in [*jpegs(small), *pngs_and_others(small, alpha)] if name in kept}


def broken():
    """Truncated, noisy and meaningless files."""
    for name, data in whole_pictures().items():
        for share in (0.1, 0.5, 0.8, 0.97):
            yield f"cut_{int(share * 100)}_{name}", data[: int(len(data) * share)]
        for times in (3, 30):
            noisy = bytearray(data)
            for at in random.integers(12, len(data), times):
                noisy[at] = int(random.integers(0, 256))
            yield f"noise_{times}_{name}", bytes(noisy)
    good = whole_pictures()["rgb.png"]
    yield "bad_crc.png", good[:40] + bytes([good[40] ^ 1]) + good[41:]
    yield "bomb.png", png(31623, 31623, 8, 2, b"\0" * 64)
    yield "bomb_sides.png", png(0x7FFFFFFF, 0x7FFFFFFF, 16, 6, b"\0" * 64)
    yield "no_width.png", png(0, 9, 8, 2, b"")
    yield "empty_idat.png", good[:33] + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    yield "short_pixels.png", png(90, 90, 8, 2, b"\0" * 64)
    yield "bad_filter.png", png(2, 2, 8, 0, b"\7ab\7cd")
    yield "no_palette.png", png(2, 2, 8, 3, b"\0ab\0cd")
    yield "bomb.bmp", bmp(0x7FFFFFFF, 0x7FFFFFFF, 24, b"\0" * 64)
    yield "least_height.bmp", bmp(4, -0x80000000, 24, b"\0" * 64)
    yield "bomb.gif", gif((65535, 65535), (0, 0, 4, 4))
    yield "no_size.gif", gif((0, 0), (0, 0, 4, 4))
    yield "empty", b""
    yield "one_byte", b"\x89"
    yield "zeros", bytes(512)
    yield "garbage", random.bytes(700)
    yield "html", b"<!DOCTYPE html><html><body>404</body></html>"
    yield "lfs", b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"
    for magic in (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"BM", b"RIFF\0\0\0\0WEBP"):
        yield f"magic_{magic[:4].hex()}", magic


def expectation(name, data):
    """The entry of a picture, and the bytes to be hashed for it."""
    try:
        image = Image.open(io.BytesIO(data))
        rgb = convert_to_rgb(image)
        rgb.load()
    except Exception:  # whatever a decoder raises
        return {"name": name, "error": True}, {}
    entry, blobs = {"name": name, "width": image.width, "height": image.height}, {"rgb_hash": rgb.tobytes()}
    for size in SIZES:
        levels = rgb.resize((size, size), Image.Resampling.BICUBIC)
        pixels = IdeficsImageProcessor(image_size=size).preprocess([levels], return_tensors="pt").numpy()
        if image.height not in (1, 3):  # heights that the reference mistakes for channels
            assert np.array_equal(pixels, IdeficsImageProcessor(image_size=size).preprocess([image], return_tensors="pt").numpy())
        blobs[f"pixel_values_hash_{size}"] = pixels.astype("<f4").tobytes()
    return entry, blobs


def expectations(files):
    entries = [expectation(name, data) for name, data in files.items()]
    for key in ("rgb_hash", *(f"pixel_values_hash_{size}" for size in SIZES)):
        having = [(entry, blobs[key]) for entry, blobs in entries if blobs]
        for (entry, _), value in zip(having, fnv1a_many([blob for _, blob in having])):
            entry[key] = str(value)
    return [entry for entry, _ in entries]


def tensors(files):
    return {name: torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8) for name, data in files.items()}


def main():
    warnings.simplefilter("ignore")
    picture_random.bit_generator.state = np.random.default_rng(SEED).bit_generator.state
    folder, about = output_folder() / "pictures", metadata(SEED)
    folder.mkdir(parents=True, exist_ok=True)
    files = {f"{i:03d}_{name}": data for i, (name, data) in enumerate(rare())}
    save_file(tensors(files), folder / "rare.safetensors", metadata=about)
    expected = expectations(files)
    (folder / "rare_expected.json").write_text("[" + ",\n".join(json.dumps(e) for e in expected) + "]\n")
    print(len(files), "pictures, of which the reference refuses", sum("error" in e for e in expected))


if __name__ == "__main__":
    main()
