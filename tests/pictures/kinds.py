"""All generators. Each gives {name: bytes of a file}, with other contents for every seed."""

from avif_heic_files import avif_files, heic_files
from bmp_files import bmp_files
from gif_files import gif_files
from ico_files import ico_files
from jpeg_files import jpeg_files
from png_files import png_files
from pnm_tga_qoi_files import pnm_files, qoi_files, tga_files
from tiff_files import tiff_files
from webp_files import webp_files

KINDS = {
    "png": png_files,
    "jpeg": jpeg_files,
    "gif": gif_files,
    "bmp": bmp_files,
    "ico": ico_files,
    "pnm": pnm_files,
    "tga": tga_files,
    "qoi": qoi_files,
    "webp": webp_files,
    "tiff": tiff_files,
    "avif": avif_files,
    "heic": heic_files,
}
