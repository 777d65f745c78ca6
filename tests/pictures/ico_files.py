"""Icons and cursors of several pictures, as BMP and as PNG."""

import struct

from drawing import encoded, picture, random
from png_files import png_files


def ico_files():
    out = {}
    out["png"] = encoded(picture("RGBA", 64, 64), "ICO", sizes=[(16, 16), (32, 32)])
    out["bmp"] = encoded(picture("RGBA", 64, 64), "ICO", sizes=[(16, 16), (32, 32)], bitmap_format="bmp")
    for m in ("1", "L", "P", "RGB"):
        out["bmp" + m] = encoded(picture(m, 64, 64), "ICO", sizes=[(16, 16), (24, 24)], bitmap_format="bmp")

    def dib(w, h, bits, pal=b"", comp=0):
        xor = random.bytes((w * bits + 31) // 32 * 4 * h)
        a = random.bytes((w + 31) // 32 * 4 * h)
        return struct.pack("<IiiHHIIiiII", 40, w, 2 * h, 1, bits, comp, 0, 0, 0, len(pal) // 4, 0) + pal + xor + a

    def ico(entries, kind=1):
        n = len(entries)
        head = struct.pack("<HHH", 0, kind, n)
        off = 6 + 16 * n
        body = b""
        for w, h, bpp, nc, d in entries:
            head += struct.pack("<BBBBHHII", w, h, nc, 0, 1, bpp, len(d), off + len(body))
            body += d
        return head + body

    for b in (1, 4, 8, 16, 24, 32):
        pal = random.bytes(4 << b) if b <= 8 else b""
        for w, h in ((16, 16), (17, 5)):
            out[f"i{b}_{w}"] = ico([(w, h, b, 0, dib(w, h, b, pal))])
            out[f"i{b}_{w}x"] = ico([(w, h, 32, 0, dib(w, h, b, pal)), (w, h, 0, 3, dib(w, h, b, pal))])
            out[f"c{b}_{w}"] = ico([(w, h, 0, 0, dib(w, h, b, pal))], 2)
            out[f"c{b}_{w}x"] = ico([(w, h, 0, 0, dib(w, h, b, pal)), (w + 2, h + 2, 0, 0, dib(w + 2, h + 2, b, pal))], 2)
    for nc in range(0, 256, 7):
        out[f"nc{nc}"] = ico([(8, 8, 0, nc, dib(8, 8, 24)), (8, 8, 4, 0, dib(8, 8, 24)), (8, 8, 8, 0, dib(8, 8, 24))])
    ps = png_files()
    for k in ("k3_8_0t", "k0_8_0t", "k0_16_0t", "k6_8_1", "eXIf", "k0_1_0", "apng_RGB", "k3_4_1"):
        out["p" + k] = ico([(13, 11, 32, 0, ps[k])])
    out["two"] = ico([(0, 0, 8, 0, dib(16, 16, 8, random.bytes(1024))), (16, 16, 32, 0, dib(16, 16, 32))])
    out["none"] = ico([])
    out["none2"] = ico([], 2)
    return out
