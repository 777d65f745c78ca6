"""PNG of every colour type and depth, metadata that may turn it, transparency, animations."""

import struct
import zlib

from drawing import XMP, encoded, exif, picture, random


def chunk(k, b):
    return struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b))


PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
KINDS = {0: (1, (1, 2, 4, 8, 16)), 2: (3, (8, 16)), 3: (1, (1, 2, 4, 8)), 4: (2, (8, 16)), 6: (4, (8, 16))}


def rawpng(w, h, d, k, il, pre=b"", post=b"", split=0):
    bits = d * KINDS[k][0]
    body = b""
    for x0, y0, dx, dy in PASSES if il else ((0, 0, 1, 1),):
        c, r = -(-(w - x0) // dx), -(-(h - y0) // dy)
        if c > 0 and r > 0:
            body += b"".join(bytes([y % 5]) + random.bytes((c * bits + 7) // 8) for y in range(r))
    z = zlib.compress(body)
    parts = [z[i : i + split] for i in range(0, len(z), split)] if split else [z]
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, d, k, 0, 0, il))
        + pre
        + b"".join(chunk(b"IDAT", p) for p in parts)
        + post
        + chunk(b"IEND", b"")
    )


def png_files():
    out = {}
    for k, (_, ds) in KINDS.items():
        for d in ds:
            for il in (0, 1):
                pre = chunk(b"PLTE", random.bytes(3 * min(16, 1 << d))) if k == 3 else b""
                out[f"k{k}_{d}_{il}"] = rawpng(13, 11, d, k, il, pre, split=il * 40)
                if k == 3:
                    out[f"k{k}_{d}_{il}t"] = rawpng(13, 11, d, k, il, pre + chunk(b"tRNS", random.bytes(3)))
                if k in (0, 2):
                    out[f"k{k}_{d}_{il}t"] = rawpng(13, 11, d, k, il, chunk(b"tRNS", struct.pack(">H", 3) * KINDS[k][0]))
    for n, t in {"nl": b"\xff\xff\0\xff\n", "one": b"\xff\0\xff", "nl2": b"\0\n", "b": b"\xff\0\0", "z": b"", "bign": b"\xff" * 300 + b"\0"}.items():
        out["trns_" + n] = rawpng(9, 7, 8, 3, 0, chunk(b"PLTE", random.bytes(24)) + chunk(b"tRNS", t))
    extra = (
        chunk(b"gAMA", struct.pack(">I", 45455))
        + chunk(b"cHRM", bytes(32))
        + chunk(b"sRGB", b"\1")
        + chunk(b"pHYs", bytes(9))
        + chunk(b"tEXt", b"Title\0x")
        + chunk(b"zTXt", b"k\0\0" + zlib.compress(b"text" * 9))
        + chunk(b"iTXt", b"k\0\1\0en\0kk\0" + zlib.compress(b"u" * 30))
        + chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(99)))
    )
    out["extras"] = rawpng(9, 7, 8, 2, 0, extra)
    out["extras_post"] = rawpng(9, 7, 8, 2, 0, b"", extra)
    e = exif(6).tobytes()[6:]
    out["eXIf"] = rawpng(9, 7, 8, 6, 0, chunk(b"eXIf", e))
    out["eXIf_post"] = rawpng(9, 7, 8, 6, 0, b"", chunk(b"eXIf", e))
    out["raw_exif"] = rawpng(
        9, 7, 8, 2, 0, chunk(b"tEXt", b"Raw profile type exif\0\nexif\n  %d\n" % (len(e) + 6) + (b"Exif\0\0" + e).hex().encode() + b"\n")
    )
    out["raw_exif_z"] = rawpng(
        9, 7, 8, 2, 0, chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n  %d\n" % (len(e) + 6) + e.hex().encode() + b"\n"))
    )
    out["xmp"] = rawpng(9, 7, 8, 2, 0, chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP % 8))
    out["exif_text"] = rawpng(9, 7, 8, 2, 0, chunk(b"tEXt", b"exif\0" + e))
    out["exif_ztext"] = rawpng(9, 7, 8, 2, 0, chunk(b"zTXt", b"exif\0\0" + zlib.compress(e)))
    out["xmp_text"] = rawpng(9, 7, 8, 2, 0, chunk(b"tEXt", b"xmp\0" + XMP % 3))
    out["xmp_text2"] = rawpng(9, 7, 8, 2, 0, chunk(b"tEXt", b"XML:com.adobe.xmp\0" + XMP % 3))
    for m in ("RGB", "P", "RGBA", "L", "I;16", "LA"):
        a = [picture(m, 20, 15) for _ in range(3)]
        out["apng_" + m] = encoded(a[0], "PNG", save_all=True, append_images=a[1:], duration=50)
        if m in ("RGB", "RGBA", "LA"):  # Pillow cannot write the others so
            out["apngd_" + m] = encoded(a[0], "PNG", save_all=True, append_images=a[1:], duration=50, default_image=True, disposal=1)

    # first frame smaller than canvas
    def fctl(s, w, h, x, y):
        return chunk(b"fcTL", struct.pack(">IIIIIHHBB", s, w, h, x, y, 1, 10, 0, 0))

    for w, h, x, y in ((5, 4, 2, 3), (9, 7, 0, 0), (0, 4, 0, 0), (0, 4, 3, 0), (5, 0, 1, 1), (4, 4, 5, 3)):
        for il in (0, 1):
            body = b"".join(b"\0" + random.bytes(w * 3) for _ in range(h)) if not il else random.bytes(2000)
            z = zlib.compress(body if not il else b"".join(bytes([0]) + random.bytes(60) for _ in range(40)))
            out[f"apngsub{w}{h}{x}{y}_{il}"] = (
                b"\x89PNG\r\n\x1a\n"
                + chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 7, 8, 2, 0, 0, il))
                + chunk(b"acTL", struct.pack(">II", 2, 0))
                + fctl(0, w, h, x, y)
                + chunk(b"IDAT", z)
                + fctl(1, 9, 7, 0, 0)
                + chunk(b"fdAT", struct.pack(">I", 2) + z)
                + chunk(b"IEND", b"")
            )
    out["fdat_first"] = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 7, 8, 0, 0, 0, 0))
        + chunk(b"acTL", struct.pack(">II", 2, 0))
        + fctl(0, 9, 7, 0, 0)
        + chunk(b"fdAT", struct.pack(">I", 1) + zlib.compress(bytes(70)))
        + chunk(b"IEND", b"")
    )
    return out
