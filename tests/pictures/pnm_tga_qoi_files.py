"""Formats without compression, or with runs: PNM and its relatives, TGA, QOI."""

import struct

import numpy as np

from drawing import encoded, picture, random, scene


def pnm_files():
    out = {}
    g = scene(9, 7, 1)[..., 0]
    r = scene(9, 7, 3)
    out["p1"] = b"P1\n# c\n9 7\n" + b"\n".join(b" ".join(b"%d" % (v > 127) for v in row) for row in g) + b"\n"
    out["p1t"] = b"P1 9 7 " + b"".join(b"%d" % (v > 127) for v in g.flat)
    out["p1c"] = b"P1 9 7\n#x\n" + b"#comment\r\n".join(b"%d" % (v > 127) for v in g.flat)
    for mx in (1, 7, 100, 255, 256, 1000, 65535):
        s = lambda v: int(v) * mx // 255
        out[f"p2_{mx}"] = b"P2\n9 7\n%d\n" % mx + b" ".join(b"%d" % s(v) for v in g.flat) + b"\n"
        out[f"p3_{mx}"] = b"P3\n9 7\n%d\n" % mx + b" ".join(b"%d" % s(v) for v in r.flat)
        for k, a in ((b"P5", g), (b"P6", r), (b"P0CMYK", scene(9, 7, 4)), (b"PyRGBA", scene(9, 7, 4)), (b"PyP", g), (b"PyCMYK", scene(9, 7, 4))):
            out[f"{k.decode()}_{mx}"] = (
                k + b"\n9 7\n%d\n" % mx + (bytes(min(255, s(v)) for v in a.flat) if mx < 256 else b"".join(struct.pack(">H", s(v)) for v in a.flat))
            )
    out["p4"] = encoded(picture("1", 9, 7), "PPM")
    out["p5"] = encoded(picture("L", 9, 7), "PPM")
    out["p6"] = encoded(picture("RGB", 9, 7), "PPM")
    out["p5i"] = encoded(picture("I;16", 9, 7), "PPM")
    out["pf"] = encoded(picture("F", 9, 7), "PPM")
    f = (np.random.default_rng(1).normal(100, 200, (7, 9))).astype("<f4")
    f[0, 0] = np.nan
    f[1, 1] = np.inf
    f[2, 2] = -np.inf
    out["pf2"] = b"Pf\n9 7\n-1.0\n" + f.tobytes()
    out["pf3"] = b"Pf 9 7 2 " + f.astype(">f4").tobytes()
    out["odd"] = b"P5 +9 7_0 2_55 " + bytes(630)
    out["neg"] = b"P5 -9 7 255 " + bytes(63)
    out["p7"] = b"P7\nWIDTH 2\n"
    out["cm"] = b"P5 9#x\n 7 255 " + bytes(63)
    out["cm2"] = b"P5 1#x\n2 7 255 " + bytes(84)
    return out


def tga_files():
    out = {}
    for m in ("1", "L", "LA", "P", "RGB", "RGBA"):
        for c in (None, "tga_rle"):
            for o in (1, -1):
                out[f"{m}{c}{o}"] = encoded(picture(m, 23, 17), "TGA", compression=c, orientation=o)

    def tga(t, depth, cm=0, cd=0, first=0, count=0, flags=0, idl=0, w=9, h=7, body=None, pal=None):
        row = (w * depth + 7) // 8
        return (
            struct.pack("<BBBHHBHHHHBB", idl, cm, t, first, count, cd, 0, 0, w, h, depth, flags)
            + bytes(idl)
            + (pal if pal is not None else random.bytes(count * cd // 8) if cm else b"")
            + (random.bytes(row * h) if body is None else body)
        )

    for t in (1, 2, 3):
        for d in (1, 8, 16, 24, 32):
            for fl in (0, 0x10, 0x20, 0x30):
                out[f"t{t}_{d}_{fl}"] = tga(t, d, flags=fl, idl=fl)
            for cd in (16, 24, 32):
                out[f"t{t}_{d}_cm{cd}"] = tga(t, d, 1, cd, 0, 200)
                out[f"t{t}_{d}_cmf{cd}"] = tga(t, d, 1, cd, 100, 156)
                out[f"t{t}_{d}_cmx{cd}"] = tga(t, d, 1, cd, 100, 157)

    def rle(w, h, step, cross=False):
        b = b""
        n = 0
        while n < w * h:
            left = w - n % w
            if random.integers(0, 2):
                k = int(random.integers(1, min(left, 128) + 1))
                b += bytes([127 + k]) + random.bytes(step)
            else:
                k = int(random.integers(1, min(w * h - n if cross else left, 128) + 1))
                b += bytes([k - 1]) + random.bytes(step * k)
            n += k
        return b

    for d in (8, 16, 24, 32):
        for cr in (0, 1):
            out[f"rle{d}_{cr}"] = tga(10 if d > 8 else 11, d, body=rle(9, 7, d // 8, cr))
            out[f"rlep{d}_{cr}"] = tga(9, d, 1, 24, 0, 256, body=rle(9, 7, d // 8, cr))
            out[f"rleg{d}_{cr}"] = tga(11, d, body=rle(9, 7, d // 8, cr))
    return out


def qoi_files():
    def q(w, h, ch, body):
        return b"qoif" + struct.pack(">II", w, h) + bytes([ch, 0]) + body + bytes(7) + b"\1"

    out = {
        f"r{i}": q(
            9,
            7,
            3 + i % 2,
            bytes(
                random.choice([random.integers(0, 256), 0xFE, 0xFF, random.integers(0xC0, 0xFE), random.integers(0, 64)], size=400).astype(np.uint8)
            ),
        )
        for i in range(8)
    }
    for m in ("RGB", "RGBA"):
        out[m] = encoded(picture(m, 31, 23), "QOI")
    return out
