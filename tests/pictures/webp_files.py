"""WebP: lossy, lossless, animated, with metadata, with flags that contradict the pictures."""

from drawing import XMP, encoded, exif, picture


def webp_files():
    out = {}
    for m in ("RGB", "RGBA"):
        out[m] = encoded(picture(m, 31, 23), "WEBP")
        out[m + "l"] = encoded(picture(m, 31, 23), "WEBP", lossless=True)
        out[m + "e"] = encoded(picture(m, 31, 23), "WEBP", exif=exif(6))
        out[m + "x"] = encoded(picture(m, 31, 23), "WEBP", xmp=XMP % 5)
        out[m + "a"] = encoded(picture(m, 31, 23), "WEBP", save_all=True, append_images=[picture(m, 31, 23)])
    l = encoded(picture("RGBA", 31, 23), "WEBP", lossless=True, exif=exif(3))
    i = l.index(b"VP8X") + 8
    out["noflag"] = l[:i] + bytes([l[i] & ~0x10]) + l[i + 1 :]
    l = encoded(picture("RGBA", 31, 23), "WEBP", exif=exif(3))
    i = l.index(b"VP8X") + 8
    out["noflag2"] = l[:i] + bytes([l[i] & ~0x10]) + l[i + 1 :]
    l = encoded(picture("RGB", 31, 23), "WEBP", exif=exif(3))
    i = l.index(b"VP8X") + 8
    out["flag"] = l[:i] + bytes([l[i] | 0x10]) + l[i + 1 :]
    return out
