"""AVIF by Pillow, HEIC by pillow-heif, which this module needs only for HEIC."""

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
