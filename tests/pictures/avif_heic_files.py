"""AVIF by Pillow, deeper ones by a program of this folder, HEIC by pillow-heif."""

import subprocess
import tempfile
from pathlib import Path

from drawing import XMP, encoded, exif, picture


def avif_files():
    out = {}
    for mode in ("RGB", "RGBA", "L", "LA", "P"):
        for sampling in ("4:2:0", "4:2:2", "4:4:4", "4:0:0"):
            for levels in ("full", "limited"):
                out[f"{mode}_{sampling}_{levels}"] = encoded(picture(mode, 37, 29), "AVIF", subsampling=sampling, range=levels, quality=70, speed=9)
    for orientation in range(1, 9):
        out[f"exif{orientation}"] = encoded(picture("RGB", 31, 17), "AVIF", exif=exif(orientation), speed=9)
    out["xmp"] = encoded(picture("RGB", 31, 17), "AVIF", xmp=XMP % 6, speed=9)
    out["xmp_exif"] = encoded(picture("RGB", 31, 17), "AVIF", xmp=XMP % 6, exif=exif(1), speed=9)
    out["animated"] = encoded(picture("RGBA", 31, 17), "AVIF", save_all=True, append_images=[picture("RGBA", 31, 17)], speed=9)
    out["lossless"] = encoded(picture("RGB", 31, 17), "AVIF", quality=100, speed=9)
    return out


def deep_avif_files():
    """AVIF of 10 and 12 bits. Needs a C compiler and libavif."""
    out = {}
    with tempfile.TemporaryDirectory() as folder:
        program, file = Path(folder) / "deep_avif", Path(folder) / "file"
        subprocess.check_call(["cc", "-O1", Path(__file__).with_name("deep_avif.c"), "-o", program, "-lavif", "-lm"])
        for bits, form, alpha in ((10, 1, 0), (10, 2, 0), (10, 3, 0), (10, 4, 0), (12, 1, 1), (12, 2, 1), (12, 3, 0), (12, 3, 1)):
            subprocess.check_call([program, file, str(bits), str(form), str(alpha), "5"])
            out[f"deep_{bits}_{form}_{alpha}"] = file.read_bytes()
    return out


def heic_files():
    import pillow_heif

    pillow_heif.register_heif_opener()
    out = {}
    for mode in ("RGB", "RGBA", "L", "LA"):
        for chroma in (422, 444):
            for width, height in ((37, 29), (64, 64), (2, 3)):
                out[f"{mode}_{chroma}_{width}"] = encoded(picture(mode, width, height), "HEIF", quality=80, chroma=chroma)
    image = picture("RGB", 62, 34)
    out["420"] = encoded(image, "HEIF", quality=80, chroma=420)
    for orientation in range(1, 9):
        out[f"exif{orientation}"] = encoded(image, "HEIF", exif=exif(orientation).tobytes(), quality=80, chroma=444)
    out["several"] = encoded(image, "HEIF", save_all=True, append_images=[image.resize((30, 20))], quality=80, chroma=444)
    out["lossless"] = encoded(image, "HEIF", quality=-1, chroma=444, matrix_coefficients=0)
    return out
