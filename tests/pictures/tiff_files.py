"""TIFF: every form of samples, in strips, tiles and planes, plain and packed, with tags of every type."""

import struct
import zlib

from PIL import Image

from drawing import XMP, encoded, picture, random


def tiff(tags, data, big=False, bigtiff=False):
    """A file of one directory. `tags` are (tag, type, values or bytes); offsets of None are those of `data`."""
    E = ">" if big else "<"
    T = {1: ("B", 1), 3: ("H", 2), 4: ("L", 4), 16: ("Q", 8), 8: ("h", 2), 9: ("l", 4), 11: ("f", 4), 12: ("d", 8)}
    head = (b"MM" if big else b"II") + struct.pack(E + "H", 43 if bigtiff else 42)
    if bigtiff:
        head += struct.pack(E + "HHQ", 8, 0, 0)
    else:
        head += struct.pack(E + "L", 0)
    body = b""
    offs = []
    for d in data:
        offs.append(len(head) + len(body))
        body += d
        if len(body) % 2:
            body += b"\0"
    entries = []
    aux = b""
    auxat = len(head) + len(body)
    w = 8 if bigtiff else 4
    for t, ty, v in sorted(tags, key=lambda x: x[0]):
        if t in (273, 324) and v is None:
            v = offs
        if isinstance(v, bytes):
            raw = v
            n = len(v)
        elif ty in (5, 10):
            raw = b"".join(struct.pack(E + ("LL" if ty == 5 else "ll"), *p) for p in v)
            n = len(v)
        else:
            v = v if isinstance(v, (list, tuple)) else [v]
            f, s = T[ty]
            raw = struct.pack(E + f"{len(v)}{f}", *v)
            n = len(v)
        if len(raw) <= w:
            val = raw.ljust(w, b"\0")
        else:
            val = struct.pack(E + ("Q" if bigtiff else "L"), auxat + len(aux))
            aux += raw
            if len(aux) % 2:
                aux += b"\0"
        entries.append(struct.pack(E + "HH" + ("Q" if bigtiff else "L"), t, ty, n) + val)
    ifdat = auxat + len(aux)
    if ifdat % 2:
        aux += b"\0"
        ifdat += 1
    ifd = struct.pack(E + ("Q" if bigtiff else "H"), len(entries)) + b"".join(entries) + struct.pack(E + ("Q" if bigtiff else "L"), 0)
    head = head[:-w] + struct.pack(E + ("Q" if bigtiff else "L"), ifdat)
    return head + body + aux + ifd


def packed_bits(data):
    return b"".join(bytes([len(data[i : i + 128]) - 1]) + data[i : i + 128] for i in range(0, len(data), 128))


PACKERS = {1: bytes, 8: zlib.compress, 32773: packed_bits}


def tform(photo, fmt, fill, bits, extra, big=False, bigtiff=False, comp=1, w=13, h=9, rps=4, planar=1, tile=None, more=()):
    """Random samples of a form: photometric interpretation, sample formats, fill order, bits and extra samples."""
    n = len(bits)
    pk = PACKERS[comp]
    tags = [(256, 3, w), (257, 3, h), (258, 3, list(bits)), (259, 3, comp), (262, 3, photo), (266, 3, fill), (277, 3, n), (284, 3, planar)]
    if extra:
        tags.append((338, 3, list(extra)))
    if fmt != ():
        tags.append((339, 3, list(fmt)))
    if photo == 3:
        tags.append((320, 3, [int(v) for v in random.integers(0, 65536, 3 << bits[0])]))
    data = []
    planes = [bits] if planar == 1 else [[b] for b in bits]
    for p in planes:
        if tile:
            tw, th = tile
            for y in range(0, h, th):
                for x in range(0, w, tw):
                    data.append(pk(random.bytes((tw * sum(p) + 7) // 8 * th)))
        else:
            for y in range(0, h, rps):
                data.append(pk(random.bytes((w * sum(p) + 7) // 8 * min(rps, h - y))))
    if tile:
        tags += [(322, 3, tile[0]), (323, 3, tile[1]), (324, 4, None), (325, 4, [len(d) for d in data])]
    else:
        tags += [(278, 3, rps), (273, 4, None), (279, 4, [len(d) for d in data])]
    return tiff(tags + list(more), data, big, bigtiff)


FORMS = (
    [
        (0, (1,), 1, (1,), ()),
        (0, (1,), 2, (1,), ()),
        (1, (1,), 1, (1,), ()),
        (1, (1,), 2, (1,), ()),
        (0, (1,), 1, (2,), ()),
        (0, (1,), 2, (2,), ()),
        (1, (1,), 1, (2,), ()),
        (1, (1,), 2, (2,), ()),
        (0, (1,), 1, (4,), ()),
        (0, (1,), 2, (4,), ()),
        (1, (1,), 1, (4,), ()),
        (1, (1,), 2, (4,), ()),
        (0, (1,), 1, (8,), ()),
        (0, (1,), 2, (8,), ()),
        (1, (1,), 1, (8,), ()),
        (1, (2,), 1, (8,), ()),
        (1, (1,), 2, (8,), ()),
        (1, (1,), 1, (12,), ()),
        (0, (1,), 1, (16,), ()),
        (1, (1,), 1, (16,), ()),
        (1, (1,), 2, (16,), ()),
        (1, (2,), 1, (16,), ()),
        (0, (3,), 1, (32,), ()),
        (1, (1,), 1, (32,), ()),
        (1, (2,), 1, (32,), ()),
        (1, (3,), 1, (32,), ()),
        (1, (1,), 1, (8, 8), (2,)),
        (2, (1, 1, 1), 1, (8, 8, 8), ()),
        (2, (1,), 1, (8, 8, 8), ()),
        (2, (1,), 2, (8, 8, 8), ()),
    ]
    + [
        (2, (1,), 1, (8,) * n, e)
        for n, e in (
            (4, ()),
            (4, (0,)),
            (5, (0, 0)),
            (6, (0, 0, 0)),
            (4, (1,)),
            (5, (1, 0)),
            (6, (1, 0, 0)),
            (4, (2,)),
            (5, (2, 0)),
            (6, (2, 0, 0)),
            (4, (999,)),
            (5, (2, 2)),
            (5, (0,)),
            (4, (3,)),
            (6, (999, 0, 0)),
        )
    ]
    + [
        (2, (1,), 1, (16,) * 3, ()),
        (2, (1,), 1, (16,) * 4, ()),
        (2, (1,), 1, (16,) * 4, (0,)),
        (2, (1,), 1, (16,) * 4, (1,)),
        (2, (1,), 1, (16,) * 4, (2,)),
        (2, (1,), 1, (16,) * 4, (999,)),
        (2, (1,), 1, (16,) * 5, (2, 0)),
        (3, (1,), 1, (1,), ()),
        (3, (1,), 2, (1,), ()),
        (3, (1,), 1, (2,), ()),
        (3, (1,), 2, (2,), ()),
        (3, (1,), 1, (4,), ()),
        (3, (1,), 2, (4,), ()),
        (3, (1,), 1, (8,), ()),
        (3, (1,), 1, (8, 8), (0,)),
        (3, (1,), 1, (8, 8), (2,)),
        (3, (1,), 2, (8,), ()),
        (5, (1,), 1, (8,) * 4, ()),
        (5, (1,), 1, (8,) * 5, (0,)),
        (5, (1,), 1, (8,) * 6, (0, 0)),
        (5, (1,), 1, (16,) * 4, ()),
        (5, (1,), 1, (8,) * 5, (2,)),
        (6, (1,), 1, (8,), ()),
        (6, (1,), 1, (8,) * 3, ()),
        (8, (1,), 1, (8,) * 3, ()),
        (2, (3,), 1, (32,) * 3, ()),
        (1, (3,), 1, (64,), ()),
        (1, (1,), 1, (3,), ()),
        (2, (1,), 1, (8, 8, 9), ()),
        (4, (1,), 1, (1,), ()),
        (1, (1,), 3, (8,), ()),
        (1, (1, 2), 1, (8, 8), (2,)),
        (1, (4,), 1, (8,), ()),
        (0, (1,), 1, (8, 8), (2,)),
    ]
)


def tiff_files():
    out = {}
    for i, f in enumerate(FORMS):
        for big in (0, 1):
            n = f"{i}_{'MM' if big else 'II'}"
            out[n] = tform(*f, big=big)
            out[n + "z"] = tform(*f, big=big, comp=8)
            out[n + "pb"] = tform(*f, big=big, comp=32773, rps=9)
            if i % 3 == 0 or len(f[3]) > 1:
                out[n + "t"] = tform(*f, big=big, tile=(16, 16))
                out[n + "tz"] = tform(*f, big=big, tile=(16, 16), comp=8, w=21, h=19)
                out[n + "pl"] = tform(*f, big=big, planar=2)
                out[n + "plz"] = tform(*f, big=big, planar=2, comp=8)
                out[n + "tpl"] = tform(*f, big=big, planar=2, tile=(16, 16))
                out[n + "tplz"] = tform(*f, big=big, planar=2, tile=(16, 16), comp=8)
            if i % 5 == 0:
                out[n + "bt"] = tform(*f, big=big, bigtiff=True)
                out[n + "btz"] = tform(*f, big=big, bigtiff=True, comp=8)
    for m, cs in {
        "1": ("raw", "tiff_ccitt", "group3", "group4", "packbits", "tiff_lzw", "tiff_adobe_deflate"),
        "L": ("raw", "tiff_lzw", "jpeg", "tiff_adobe_deflate", "packbits", "lzma"),
        "RGB": ("raw", "tiff_lzw", "jpeg", "tiff_adobe_deflate", "packbits", "lzma"),
        "RGBA": ("raw", "tiff_lzw", "tiff_adobe_deflate"),
        "CMYK": ("raw", "tiff_lzw", "jpeg"),
        "LA": ("raw", "tiff_lzw"),
        "P": ("raw", "tiff_lzw"),
        "I;16": ("raw", "tiff_lzw"),
        "F": ("raw", "tiff_lzw"),
        "I": ("raw", "tiff_lzw"),
        "YCbCr": ("raw", "jpeg"),
        "LAB": ("raw",),
    }.items():
        for c in cs:
            for o in ({}, {"big_tiff": True}, {"strip_size": 200}):
                image = picture(m, 41, 31) if m != "LAB" else Image.new("LAB", (9, 9))
                out[f"pil_{m}_{c}_{list(o)[:1]}"] = encoded(image, "TIFF", compression=c, **o)
    for bits, fmt, photo, n in ((8, 1, 1, 1), (8, 1, 2, 3), (16, 1, 1, 1), (16, 1, 2, 3), (32, 1, 1, 1), (32, 3, 1, 1)):
        for pred in (2, 3):
            for big in (0, 1):
                out[f"pred{pred}_{bits}_{fmt}_{n}_{big}"] = tform(photo, (fmt,), 1, (bits,) * n, (), big=big, comp=8, more=[(317, 3, pred)])
    for o in range(0, 10):
        if 1 <= o <= 8:
            for c in ("raw", "tiff_lzw"):
                out[f"or{o}{c}"] = encoded(picture("RGB", 31, 17), "TIFF", compression=c, tiffinfo={274: o})
        out[f"xmp{o}"] = tform(2, (1,), 1, (8, 8, 8), (), more=[(700, 1, XMP % o)])
        out[f"orl{o}"] = tform(2, (1,), 1, (8, 8, 8), (), more=[(274, 4, o)])
        out[f"orr{o}"] = tform(2, (1,), 1, (8, 8, 8), (), more=[(274, 5, [(2 * o, 2)])])
        out[f"orb{o}"] = tform(2, (1,), 1, (8, 8, 8), (), more=[(274, 1, o)])
        out[f"orf{o}"] = tform(2, (1,), 1, (8, 8, 8), (), more=[(274, 11, float(o))])
    out["multi"] = encoded(picture("RGB", 31, 17), "TIFF", save_all=True, append_images=[picture("L", 9, 9)])
    # luma and chroma with subsampling
    levels = [(532, 5, [(16, 1), (235, 1), (128, 1), (240, 1), (128, 1), (240, 1)]), (529, 5, [(299, 1000), (587, 1000), (114, 1000)])]
    for comp in (1, 8, 32773):
        for ss in ((1, 1), (2, 1), (2, 2)):
            d = PACKERS[comp](random.bytes(16 // ss[0] * 16 // ss[1] * (ss[0] * ss[1] + 2)))
            tags = [(256, 3, 16), (257, 3, 16), (258, 3, [8, 8, 8]), (259, 3, comp), (262, 3, 6), (273, 4, None)]
            tags += [(277, 3, 3), (278, 3, 16), (279, 4, [len(d)]), (284, 3, 1), (530, 3, list(ss))]
            out[f"ycc{comp}{ss}"] = tiff(tags, [d])
            out[f"yccr{comp}{ss}"] = tiff(tags + levels, [d])
    # strips: fewer, more, whole, stacked
    base = lambda more, offs, data, rps=4: tiff(
        [(256, 3, 13), (257, 3, 9), (258, 3, [8]), (259, 3, 1), (262, 3, 1), (273, 4, offs), (277, 3, 1), (278, 3, rps), (279, 4, [1])] + more, data
    )
    d = [random.bytes(52), random.bytes(52), random.bytes(13)]
    out["few"] = base([], None, d[:2])
    out["more"] = base([], None, d + d)
    out["whole2"] = base([], None, [random.bytes(117), random.bytes(117)], 9)
    out["same"] = base([], [8, 8, 8], d)
    out["rps0"] = base([], None, d, 0)
    out["rpsbig"] = tform(1, (1,), 1, (8,), (), rps=200)
    out["norps"] = tiff([(256, 3, 13), (257, 3, 9), (258, 3, [8]), (262, 3, 1), (273, 4, None)], [random.bytes(117)])
    out["nophoto"] = tiff([(256, 3, 13), (257, 3, 9), (258, 3, [8]), (273, 4, None)], [random.bytes(117)])
    out["min"] = tiff([(256, 3, 13), (257, 3, 9), (273, 4, None)], [random.bytes(117)])
    out["bits1for3"] = tiff([(256, 3, 13), (257, 3, 9), (258, 3, [8]), (262, 3, 2), (277, 3, 3), (273, 4, None)], [random.bytes(351)])
    out["bits4for3"] = tiff([(256, 3, 13), (257, 3, 9), (258, 3, [8] * 4), (262, 3, 2), (277, 3, 3), (273, 4, None)], [random.bytes(351)])
    return out
