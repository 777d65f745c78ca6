"""Hashes of photographs outside the project, in the folder that IDEFICS_TEST_DATA names.

Writes pictures/photographs.json in the format of make_pictures.py; without the folder, nothing.
"""

import json
import os
from pathlib import Path

from common import fnv1a_many, output_folder
from make_rare_pictures import expectation

NAMES = ("chicken_on_money.png", "cow_beach.png", "llama_cute.jpg")


def main():
    folder = Path(os.environ.get("IDEFICS_TEST_DATA", "/nonexistent"))
    if not all((folder / name).exists() for name in NAMES):
        return print("IDEFICS_TEST_DATA holds no photographs: photographs.json is left as it is")
    entries = []
    for name in NAMES:
        entry, blobs = expectation(name, (folder / name).read_bytes())
        entries.append(entry | {key: str(value) for key, value in zip(blobs, fnv1a_many(list(blobs.values())))})
    (output_folder() / "pictures" / "photographs.json").write_text("[" + ",\n".join(json.dumps(e) for e in entries) + "]\n")


if __name__ == "__main__":
    main()
