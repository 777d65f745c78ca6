"""Records what Pillow makes of damaged files that fuzzing found to reach code that no other reaches.

usage: record_damaged.py [--out DIR] [--from FOLDER]

Writes pictures/damaged.safetensors and pictures/damaged_expected.json, in the form of record.py.
The files are those of the recording itself and of FOLDER, where libFuzzer wrote what is new:

    idefics-fuzz --target=image -merge=1 -use_counters=0 FOLDER_WITH_ALL_RECORDED_FILES KEPT_CORPUS
"""

import hashlib
import sys
from pathlib import Path

from safetensors.numpy import load_file

from record import write_recording

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "reference"))
from common import GOLDEN

STARTS = {b"\x89PNG": "png", b"\xff\xd8": "jpeg", b"GIF": "gif", b"BM": "bmp", b"RIFF": "webp", b"II": "tiff", b"MM": "tiff", b"P": "pnm", b"\0\0\1\0": "ico", b"\0\0\2\0": "ico", b"qoif": "qoi"}


def kind_of(data):
    if data[4:8] == b"ftyp":
        return "heic" if data[8:11] in (b"hei", b"hev", b"mif", b"msf") else "avif"
    return next((kind for start, kind in STARTS.items() if data.startswith(start)), "other")


def main():
    options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
    folder = Path(options.get("--out", GOLDEN)) / "pictures"
    recorded = GOLDEN / "pictures" / "damaged.safetensors"
    files = {name: tensor.tobytes() for name, tensor in load_file(recorded).items()} if recorded.exists() else {}
    for path in sorted(Path(options["--from"]).iterdir()) if "--from" in options else ():
        data = path.read_bytes()
        files[f"{kind_of(data)}_{hashlib.sha256(data).hexdigest()[:8]}"] = data
    write_recording(folder, "damaged", dict(sorted(files.items())))


if __name__ == "__main__":
    main()
