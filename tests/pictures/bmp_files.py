"""BMP: depths, palettes of every length, bitfields, runs, headers."""

import struct

from drawing import random


def bmp_files():
    out = {}

    def bmp(w, h, bits, body, pal=b"", comp=0, masks=b"", hs=40, colors=None, off=None):
        rest = masks.ljust(hs - 40, b"\0") if hs > 40 else masks
        st = 54 + len(rest) + len(pal)
        return (
            b"BM"
            + struct.pack("<IHHI", 0, 0, 0, st if off is None else off)
            + struct.pack("<IiiHHIIiiII", hs, w, h, 1, bits, comp, len(body), 0, 0, len(pal) // 4 if colors is None else colors, 0)
            + rest
            + pal
            + body
        )

    rows = lambda b, w=13, h=9: random.bytes((w * b + 31) // 32 * 4 * h)
    grey = b"".join(bytes([i, i, i, 0]) for i in range(256))
    for h in (9, -9):
        for b in (1, 4, 8, 16, 24, 32):
            out[f"{b}_{h}"] = bmp(13, h, b, rows(b), random.bytes(4 << b) if b <= 8 else b"")
    out["grey8"] = bmp(13, 9, 8, rows(8), grey)
    out["grey1"] = bmp(13, 9, 1, rows(1), b"\0\0\0\0\xff\xff\xff\0")
    out["grey4"] = bmp(13, 9, 4, rows(4), grey[:64])
    for c in (0, 1, 2, 3, 15, 16, 17, 256, 257, 1000, 70000):
        for b in (1, 4, 8):
            out[f"colors{c}_{b}"] = bmp(13, 9, b, rows(b), random.bytes(4 * min(c, 300)), colors=c)
            out[f"colorsb{c}_{b}"] = bmp(5, 3, b, rows(b, 5, 3), bytes(4 * min(c, 300)), colors=c)
        out[f"colorsoff{c}"] = bmp(13, 9, 8, rows(8), random.bytes(1024), colors=c, off=54)
        out[f"coloroff0_{c}"] = bmp(13, 9, 8, rows(8), random.bytes(4 * min(c, 256)), colors=c, off=0)
    for n, b, m in (
        ("565", 16, (0xF800, 0x7E0, 0x1F)),
        ("555", 16, (0x7C00, 0x3E0, 0x1F)),
        ("888", 24, (0xFF0000, 0xFF00, 0xFF)),
        ("8888", 32, (0xFF0000, 0xFF00, 0xFF)),
    ):
        out[n] = bmp(13, 9, b, rows(b), b"", 3, struct.pack("<III", *m))
        out[n + "o0"] = bmp(13, 9, b, rows(b), b"", 3, struct.pack("<III", *m), off=0)
    for n, m in (
        ("bgra", (0xFF0000, 0xFF00, 0xFF, 0xFF000000)),
        ("none", (0, 0, 0, 0)),
        ("abgr", (0xFF000000, 0xFF0000, 0xFF00, 0xFF)),
        ("bgar", (0xFF000000, 0xFF00, 0xFF, 0xFF0000)),
    ):
        for hs in (56, 64, 108, 124):
            out[f"{n}{hs}"] = bmp(13, 9, 32, rows(32), b"", 3, struct.pack("<IIII", *m), hs)
    runs = b"".join(bytes([6, y, 0, 4, y, 1, 2, 3, 3, 5, 0, 0]) for y in range(9)) + b"\0\1"
    for n, c in (("rle8", 1), ("rle4", 2)):
        out[n] = bmp(13, 9, 8 // c, runs, random.bytes(64), c)
        out[n + "j"] = bmp(13, 9, 8 // c, bytes([6, 1, 0, 2, 0, 0, 3, 2]) + bytes([13, 7]) * 9, random.bytes(64), c)
        out[n + "g"] = bmp(13, 9, 8, runs, grey, c)
    out["old"] = b"BM" + struct.pack("<IHHI", 0, 0, 0, 74) + struct.pack("<IHHHH", 12, 13, 9, 1, 4) + random.bytes(48) + rows(4)
    out["dib"] = out["24_9"][14:]
    out["dib8"] = out["8_9"][14:]
    out["dib12"] = out["old"][14:]
    out["shortpal"] = bmp(1, 1, 8, b"", random.bytes(300), colors=256)
    return out
