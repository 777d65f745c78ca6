"""Variants of the embedded checkpoint's files, and what the reference makes of them.

A variant is a list of RFC 6902 patches by file; a patch that is not a list replaces the whole file,
null removes it. Files are written with sorted keys, as the tests write them.
"""

import copy
import json
import os
import shutil
import tempfile
import warnings
from pathlib import Path

from common import REPOSITORY
from transformers import LlamaTokenizerFast

os.environ["RUST_BACKTRACE"] = "0"
warnings.simplefilter("ignore")
TINY = REPOSITORY / "samples" / "tiny"
NAMES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "preprocessor_config.json",
         "generation_config.json", "config.json")
BASE = {name: json.loads((TINY / name).read_text()) for name in NAMES}
SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token")


def patched(value, operations):
    value = copy.deepcopy(value)
    for operation in operations:
        *parents, last = operation["path"].split("/")[1:]
        target = value
        for key in parents:
            target = target[int(key) if isinstance(target, list) else key]
        if operation["op"] == "remove":
            del target[last]
        elif isinstance(target, list):
            assert last == "-"
            target.append(operation["value"])
        else:
            target[last] = operation["value"]
    return value


def put(path, value):
    return {"op": "add", "path": path, "value": value}


def drop(path):
    return {"op": "remove", "path": path}


class Folder:
    """The files of a variant, on disk. `form`: "both", or only "json" or "model"."""

    def __init__(self, form, changes, names=NAMES[:3]):
        self.path = Path(tempfile.mkdtemp(prefix="idefics-"))
        for name in dict.fromkeys((*names, *changes)):
            change = changes.get(name, [])
            if change is None or (form == "model" and name == "tokenizer.json"):
                continue
            path = self.path / name
            path.parent.mkdir(exist_ok=True)
            if isinstance(change, str):
                path.write_text(change, newline="")
            else:
                value = patched(BASE[name], change) if isinstance(change, list) else change
                path.write_text(json.dumps(value, ensure_ascii=False, sort_keys=True))
        if form != "json":
            shutil.copy(TINY / "tokenizer.model", self.path)

    def __enter__(self):
        return self.path

    def __exit__(self, *_):
        shutil.rmtree(self.path)


def id_of(tokenizer, name):
    try:
        return getattr(tokenizer, name + "_id")
    except RecursionError:  # it has no id, and no unknown token takes its place
        return "none"


def observe_text(tokenizer, text, ids):
    """Ids without and with bos and eos, and the text of them and of other ids, with special tokens and without."""
    plain = tokenizer(text, add_special_tokens=False)["input_ids"]
    row = [plain, tokenizer(text)["input_ids"]]
    for each in (plain, ids):
        row += [tokenizer.decode(each), tokenizer.decode(each, skip_special_tokens=True)]
    return row


def load_tokenizer(form, changes):
    """None if the reference refuses the files."""
    with Folder(form, changes) as path:
        try:
            return LlamaTokenizerFast.from_pretrained(path)
        except BaseException:  # some are of Rust
            return None


def observe_tokenizer(tokenizer, texts, ids):
    """What can be seen of a tokenizer; null for none. `ids`: of other texts."""
    if tokenizer is None:
        return None
    length = tokenizer.model_max_length
    seen = {
        "special": [None if getattr(tokenizer, name) is None else str(getattr(tokenizer, name)) for name in SPECIAL],
        "ids": [id_of(tokenizer, name) for name in SPECIAL],
        "additional": [str(token) for token in tokenizer.additional_special_tokens],
        "added": [[i, t.content, *map(int, (t.single_word, t.lstrip, t.rstrip, t.normalized, t.special))]
                  for i, t in sorted(tokenizer.added_tokens_decoder.items())],
        "sides": [tokenizer.padding_side, tokenizer.truncation_side],
        "max_length": int(length) if isinstance(length, (int, float)) and 0 <= length < 10**18 else None,
        "rows": []}
    backend = tokenizer.backend_tokenizer
    known = [i for i in ids if backend.id_to_token(i) is not None]
    seen["others"] = known
    for text in texts:
        try:
            seen["rows"].append([text, *observe_text(tokenizer, text, known)])
        except BaseException:  # the reference breaks down: nothing to compare
            seen["rows"].append([text])
    return seen
