"""GIF: palettes, extensions, frames beyond the screen, code sizes."""

import struct

from drawing import encoded, picture, random


def lzw(w, h, bits=4):
    codes = []
    n = 1 << bits
    for i in range(w * h):
        codes += ([n] if i % max(1, n - 2) == 0 else []) + [int(random.integers(0, n))]
    cs = bits + 1
    p = sum(c << (cs * i) for i, c in enumerate(codes + [n + 1])).to_bytes((cs * (len(codes) + 1) + 7) // 8, "little")
    return bytes([bits]) + b"".join(bytes([len(p[i : i + 255])]) + p[i : i + 255] for i in range(0, len(p), 255)) + b"\0"


def gif_files():
    out = {}
    col = random.bytes(48)
    grey = bytes(i // 3 for i in range(48))

    def gif(glob, loc, ctrl=b"", frame=(0, 0, 8, 8), canvas=(8, 8), il=0, data=None):
        return (
            b"GIF89a"
            + struct.pack("<HHBBB", *canvas, (0x33 | 0x80) if glob else 0x33, 0, 0)
            + (glob or b"")
            + ctrl
            + b","
            + struct.pack("<HHHHB", *frame, (0x83 if loc else 0) | 0x40 * il)
            + (loc or b"")
            + (data or lzw(frame[2] or canvas[0], frame[3] or canvas[1]))
            + b";"
        )

    ctl = lambda c: b"\x21\xf9\x04\x01\0\0" + bytes([c]) + b"\0"
    out["a"] = gif(col, None)
    out["b"] = gif(None, None, ctl(3))
    out["c"] = gif(grey, col, ctl(3), (2, 1, 7, 9), (5, 6), 1)
    out["d"] = gif(col, grey)
    out["net"] = gif(col, None, b"\x21\xff\x0bNETSCAPE2.0\x03\x01\0\0\0")
    out["net0"] = gif(col, None, b"\x21\xff\x0bNETSCAPE2.0\0\0")
    out["com"] = gif(col, None, b"\x21\xfe\x03abc\0" + ctl(1))
    out["com0"] = gif(col, None, b"\x21\xfe\0")
    out["noblk"] = gif(col, None, b"\x21\x01\0\0")
    out["empty"] = gif(col, None, b"", (0, 0, 0, 8))
    out["emptyh"] = gif(col, None, b"", (0, 0, 8, 0))
    out["emptyx"] = gif(col, None, b"", (1, 0, 0, 8))
    for b in (1, 2, 8, 9, 11, 12):
        out[f"bits{b}"] = gif(col, None, data=lzw(8, 8, b))
    out["pil"] = encoded(picture("P", 60, 50), "GIF")
    out["pil_il"] = encoded(picture("P", 33, 21), "GIF", interlace=1, transparency=3)
    out["anim"] = encoded(picture("P", 20, 15), "GIF", save_all=True, append_images=[picture("P", 20, 15)])
    return out
