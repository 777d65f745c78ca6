"""Records what Pillow makes of one file of each kind, or of some where there are many.

Writes pictures/kinds.safetensors, the files by name, and pictures/kinds_expected.json: for each the
size and the 64-bit FNV-1a hash of its RGB pixels, "on_white" as transformers converts a PIL image
and "loaded" as transformers.image_utils.load_image does; "" where Pillow refuses the file.
"""

import json
import sys
from pathlib import Path

import numpy as np
from departures import departs
from drawing import seed
from kinds import KINDS
from pillow import answers
from safetensors.numpy import save_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "reference"))
from common import fnv1a, output_folder

# Every how many files of a kind one is kept, so that the recording remains small.
STEPS = {"png": 2, "jpeg": 2, "gif": 1, "bmp": 4, "ico": 5, "pnm": 2, "tga": 7, "qoi": 3, "webp": 1, "tiff": 41, "avif": 5, "heic": 6}
# Files of faults that people met, kept whatever the steps are.
ALWAYS = {
    "png_trns_nl",
    "png_trns_nl2",
    "png_eXIf_post",
    "png_raw_exif",
    "png_xmp",
    "jpeg_exif6",
    "jpeg_noeoi_z",
    "jpeg_noeoi_mj",
    "jpeg_noeoi_com",
    "jpeg_xmp",
}


def main():
    files = {}
    for kind, generate in KINDS.items():
        seed(11)
        for i, (name, data) in enumerate(generate().items()):
            name = f"{kind}_{name}"
            if (i % STEPS[kind] == 0 or name in ALWAYS) and not departs(name):
                files[name] = data
    expected = []
    for name, data in files.items():
        on_white, loaded = (f"{a.width}x{a.height} {fnv1a(a.tobytes())}" if a else "" for a in answers(data))
        expected.append({"name": name, "on_white": on_white, "loaded": loaded})
    folder = output_folder() / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: np.frombuffer(data, np.uint8) for name, data in files.items()}, folder / "kinds.safetensors")
    (folder / "kinds_expected.json").write_text("[" + ",\n".join(json.dumps(e) for e in expected) + "]\n")
    print(len(files), "files,", sum(map(len, files.values())), "bytes,", sum(not e["loaded"] for e in expected), "of them refused")


if __name__ == "__main__":
    main()
