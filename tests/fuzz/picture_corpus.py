"""Small files of every picture format, from the generators of tests/pictures, for three targets:
all formats, TIFF alone, and AVIF with HEIC. Needs Pillow 11.3.0 and pillow-heif 1.8.1.

usage: picture_corpus.py
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "pictures"))
from drawing import seed
from kinds import KINDS

LARGEST = 1200
# How many files of a kind a target gets; tests/fuzz/make_corpus.py makes others of the older formats.
SHARES = {
    "image": {"png": 16, "jpeg": 6, "gif": 6, "bmp": 8, "ico": 8, "pnm": 10, "tga": 8, "qoi": 3, "webp": 3, "tiff": 6},
    "tiff": {"tiff": 60},
    "avif": {"avif": 14, "heic": 8},
}


def main():
    for target, kinds in SHARES.items():
        (HERE / "corpus" / target).mkdir(parents=True, exist_ok=True)
        for kind, count in kinds.items():
            seed(3)
            files = {name: data for name, data in KINDS[kind]().items() if len(data) <= LARGEST}
            for name, data in list(files.items())[:: max(1, len(files) // count)][:count]:
                (HERE / "corpus" / target / f"{kind}_form_{''.join(c if c.isalnum() else '_' for c in name)}").write_bytes(data)


main()
