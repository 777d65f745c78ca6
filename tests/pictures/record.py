"""Records what Pillow makes of one file of each kind, or of some where there are many.

Writes pictures/kinds.safetensors, the files by name, and pictures/kinds_expected.json: for each the
size and the 64-bit FNV-1a hash of its RGB pixels, "on_white" as transformers converts a PIL image
and "loaded" as transformers.image_utils.load_image does; "" where Pillow refuses the file.
"""

import json
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from avif_heic_files import deep_avif_files
from departures import departs
from drawing import seed
from kinds import KINDS
from pillow import answers

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "reference"))
from common import fnv1a, output_folder

# Every how many files of a kind one is kept, so that the recording remains small.
STEPS = {"png": 2, "jpeg": 3, "gif": 1, "bmp": 5, "ico": 7, "pnm": 2, "tga": 9, "qoi": 4, "webp": 1, "tiff": 60, "avif": 9, "heic": 8}
# Files of faults that people met, kept whatever the steps are.
ALWAYS = {
    *(f"png_{name}" for name in ("trns_nl", "trns_nl2", "eXIf_post", "raw_exif", "xmp", "xmp_text", "xmp_text2")),
    *(f"jpeg_{name}" for name in ("exif6", "noeoi_z", "noeoi_mj", "noeoi_com", "xmp")),
    *(f"pnm_{name}" for name in ("p1c", "p4")),
    *(f"tga_{name}" for name in ("t2_16_32", "rle16_0", "rle24_1", "LAtga_rle1")),
    *(
        f"tiff_{name}"
        for name in (
            "17_II",
            "59_II",
            "58_MM",
            "orr6",
            "orf6",
            "orb6",
            "xmp6",
            "more",
            "few",
            "rps0",
            "same",
            "bits1for3",
            "bits4for3",
            "norps",
            "min",
        )
    ),
    *(f"tiff_{name}" for name in ("ycc8(2, 2)", "yccr8(2, 1)", "yccr32773(1, 1)", "pil_1_group4_[]", "pil_RGB_jpeg_[]", "pil_CMYK_tiff_lzw_[]")),
    *(f"tiff_{name}" for name in ("26_IIplz", "36_MMplz", "39_IItz", "48_IIplz", "pred2_16_1_3_1", "pred3_32_3_1_0")),
}
# Files that reach code which none of the others do (coverage.sh).
ALWAYS |= set(
    """
        avif_animated avif_exif2 ico_i32_17 ico_nc0 ico_none2 ico_two jpeg_ps png_exif_text png_k6_16_1 png_trns_one pnm_neg pnm_pf3
        tga_1tga_rle-1 tga_t3_16_cmf16 tga_t3_8_cmf32 tiff_17_MMpb tiff_18_MMpb tiff_20_II tiff_20_IIpb tiff_20_MMpb tiff_23_IIpb
        tiff_29_MM tiff_30_MMplz tiff_35_MMpl tiff_37_IIplz tiff_3_MM tiff_3_MMtplz tiff_44_MMpb tiff_50_MMpb tiff_51_IIpb tiff_59_MMpb
        tiff_60_MMpb tiff_63_IIpl tiff_67_IIpb tiff_68_MMplz tiff_70_IIpb tiff_74_IIpb tiff_orf4 tiff_orl1 tiff_orl7
        tiff_pil_YCbCr_jpeg_[] tiff_whole2 tiff_xmp9
    """.split()
)


def write_recording(folder, stem, files):
    """Writes the files by name, and what Pillow makes of each."""
    expected = []
    for name, data in files.items():
        on_white, loaded = (f"{a.width}x{a.height} {fnv1a(a.tobytes())}" if a else "" for a in answers(data))
        expected.append({"name": name, "on_white": on_white, "loaded": loaded})
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: np.frombuffer(data, np.uint8) for name, data in files.items()}, folder / f"{stem}.safetensors")
    (folder / f"{stem}_expected.json").write_text("[" + ",\n".join(json.dumps(e) for e in expected) + "]\n")
    print(len(files), "files,", sum(map(len, files.values())), "bytes,", sum(not e["loaded"] for e in expected), "of them refused")


def main():
    files = {}
    for kind, generate in KINDS.items():
        seed(11)
        for i, (name, data) in enumerate(generate().items()):
            name = f"{kind}_{name}"
            if (i % STEPS[kind] == 0 or name in ALWAYS) and not departs(name):
                files[name] = data
    files |= {f"avif_{name}": data for name, data in deep_avif_files().items()}
    missing = ALWAYS - files.keys()
    assert not missing, missing
    write_recording(output_folder() / "pictures", "kinds", files)


if __name__ == "__main__":
    main()
