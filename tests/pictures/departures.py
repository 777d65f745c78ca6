"""Generated files on which this project and Pillow disagree, by decision. docs/pictures.md has the reasons."""

import re

PATTERNS = (
    r"tiff_(pil_LAB|69)_",  # L*a*b* needs a library of colour management
    r"tiff_68_..t?z$",  # the data of YCbCr is too short for its subsampling
    r"tiff_59_..tplz$",  # tiles of palette and alpha in planes
    r"png_trns_bign$",  # more than 256 levels of transparency
    r"heic_420$",  # colours of libheif before 1.16 differ by a level or a few
    r"ico_ptrns_bign$",
)


def departs(name):
    return any(re.match(pattern, name) for pattern in PATTERNS)
