"""Random variants of the embedded tokenizer's files, and the ids and texts that the reference gives.

Writes tests/golden/data/tokenizer/variants.json. With --count N --write FILE, other variants, for a
longer comparison.
"""

import argparse
import random
from pathlib import Path

from common import GOLDEN, versions, write_rows
from variants import BASE, drop, load_tokenizer, observe_tokenizer, put

SEED = 16
CONTENTS = ["<loc1>", "<loc2>", "<loc10>", "red", "cat", "a", "▁a", "the", "\n", "\n\n", "  ", "\t", "é", "<image>", "<s>", "</s>", "<unk>", "<image", "image>", "aa", "ab",
            "b", " x", " ", "word", "Wort", "日本", "▁", "<0x0A>", "<x y>", "<end_of_utterance>", "[PAD]", "|a|", "_u_", "7", "😀"]
FRAGMENTS = CONTENTS + [" ", "  ", "\u00a0", "\u3000", "\u2028", "a", "b", "c", "red", " cat", "hello", " world", "<fake_token_around_image>", "<image>", "▁", ".", " .", " ,",
                        " n't", " 's", "'", " ' ", "é", "ж", "日", "😀", "\x00", "\r\n", "\u200d", "_", "1", "A", "<loc", "<s>", "</s>", "x"]
FLAGS = {"lstrip": 0.3, "rstrip": 0.3, "single_word": 0.25, "normalized": 0.4, "special": 0.5}
PREPEND, REPLACE = {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
BACK, BYTES, FUSE = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}


def sequence(name, *steps):
    return {"type": "Sequence", name: list(steps)}


def metaspace(scheme, split=True):
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split}


def added(content, **flags):
    return {"content": content, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": False} | flags


def config(*operations):
    return {"tokenizer_config.json": list(operations)}


def everywhere(at, token):
    """A token as save_pretrained writes it, into both files."""
    return {"tokenizer.json": [put("/added_tokens/-", {"id": at, **token})]} | config(put(f"/added_tokens_decoder/{at}", token))


OLD = [drop("/added_tokens_decoder")]  # the layout in which the other files count
OLD_BOS = {"__type": "AddedToken", **added("<s>", normalized=True, special=True)}
# what people's files say, each with texts that show it
EXPLICIT = [
    (everywhere(643, added("<loc1>", normalized=True)), ["<loc1> there", "a <loc1> there", "a<loc1>b"]),
    ({"tokenizer.json": [put("/added_tokens", [{"id": i, **added(t, normalized=True, special=True)} for i, t in enumerate(("<unk>", "<s>", "</s>"))])],
      "tokenizer_config.json": [*OLD, put("/bos_token", OLD_BOS)]}, ["<s>a", "a<s>b</s>", " <s> "]),
    (config(put("/legacy", False)), ["abs</s>USER", " a", "a <image> b"]),
    (config(put("/legacy", False), put("/add_prefix_space", False)), ["abs</s>USER", " a", "a <image> b"]),
    (config(put("/add_prefix_space", False)), ["a <image> b", "abs</s>USER"]),
    (config(put("/clean_up_tokenization_spaces", True)), ["stop . ok , yes ?", "I 'm here , it 's n't ' we 've . ! 're", "a <image> ."]),
    (config(put("/bos_token", "<end_of_utterance>")), ["<s>a", "a</s>b<end_of_utterance>"]),
    (config(put("/eos_token", "<image>"), put("/pad_token", "<new>"), put("/add_eos_token", True)), ["<s>a</s>", "<new>b <new>", "</s><unk>"]),
    (config(put("/added_tokens_decoder/641", added("<image>", special=True, lstrip=True, rstrip=True))), ["a \u3000\t<image> \n\u00a0 b", "<image>\u2028<image>"]),
    (config(put("/added_tokens_decoder/643", added("<only_here>", special=True))), ["a<only_here> b", "<only_here>"]),
    ({"special_tokens_map.json": [put("/bos_token", "<other>")], "added_tokens.json": {"<loc1>": 643}}, ["<s><other><loc1>"]),
    ({"special_tokens_map.json": [put("/bos_token", "<other>")], "added_tokens.json": {"<loc1>": 643}, **config(*OLD)}, ["<s><other><loc1>"]),
    (config(put("/added_tokens_decoder/643", added("cat", single_word=True))), ["cat scat cat_ (cat) écat", "cat"]),
    (config(put("/split_special_tokens", True)), ["<s>a<image></s>"]),
]


class Variant:
    def __init__(self, index):
        self.random = random.Random(SEED * 1_000_003 + index)
        self.form = self.pick("both", "both", "json", "model", "model")
        self.changes = {"tokenizer.json": [], "tokenizer_config.json": [], "special_tokens_map.json": []}
        self.next_id = 643
        self.has_decoder = True
        self.lists = {name: BASE[name]["additional_special_tokens"] for name in ("tokenizer_config.json", "special_tokens_map.json")}
        self.make()

    def chance(self, p):
        return self.random.random() < p

    def pick(self, *values):
        return self.random.choice(values)

    def set(self, key, *values, file="tokenizer_config.json"):
        self.changes[file].append(put("/" + key, self.pick(*values)))

    def flags(self, all_of_them=False):
        flags = {name: self.chance(p) for name, p in FLAGS.items()}
        return {name: value for name, value in flags.items() if all_of_them or not self.chance(0.25)}

    def token(self, **more):
        content = self.pick(*CONTENTS)
        return content if self.chance(0.6) else {"content": content, **self.flags(), **more}

    def make(self):
        self.remove_keys()
        for _ in range(self.random.randint(0, 3)):
            self.pick(self.add_to_json, self.add_to_json, self.add_to_decoder, self.add_to_decoder, self.add_to_list, self.add_to_map_list, self.add_to_file,
                      self.name_special, self.name_special_in_map)()
        self.change_settings()
        self.change_steps()
        self.change_model()
        for name, chance in (("special_tokens_map.json", 0.15), ("tokenizer_config.json", 0.06)):
            if self.chance(chance):
                self.changes[name] = None

    def remove_keys(self):
        for name, chance in (("tokenizer_config.json", 0.08), ("special_tokens_map.json", 0.15)):
            for key in BASE[name]:
                if self.chance(0.3 if key == "added_tokens_decoder" else chance):
                    self.changes[name].append(drop("/" + key))
                    self.has_decoder &= key != "added_tokens_decoder"
                    if key in ("additional_special_tokens",):
                        self.lists[name] = []

    def take_id(self):
        self.next_id += 1
        return self.next_id - 1

    def add_to_json(self):
        token = {"id": self.take_id(), "content": self.pick(*CONTENTS), **self.flags(True)}
        self.changes["tokenizer.json"].append(put("/added_tokens/-", token))

    def add_to_decoder(self):
        if self.has_decoder:
            at = self.pick(self.next_id, self.next_id, 0, 1, 2, 641, 642, 700, 300)
            self.next_id = max(self.next_id, at + 1) if at == self.next_id else self.next_id
            self.set(f"added_tokens_decoder/{at}", {"content": self.pick(*CONTENTS), **self.flags()})

    def add_to_list(self):
        self.lists["tokenizer_config.json"] = [*self.lists["tokenizer_config.json"], self.token(__type="AddedToken")]
        self.set("additional_special_tokens", self.lists["tokenizer_config.json"])

    def add_to_map_list(self):
        self.lists["special_tokens_map.json"] = [*self.lists["special_tokens_map.json"], self.token()]
        self.set("additional_special_tokens", self.lists["special_tokens_map.json"], file="special_tokens_map.json")

    def add_to_file(self):
        self.changes.setdefault("added_tokens.json", {})[self.pick(*CONTENTS)] = self.take_id()

    def name_special(self):
        self.set(self.pick("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token"),
                 self.token(__type="AddedToken"), self.token(__type="AddedToken"), None)

    def name_special_in_map(self):
        self.set(self.pick("bos_token", "eos_token", "unk_token", "pad_token", "sep_token"), self.token(), file="special_tokens_map.json")

    def change_settings(self):
        for chance, key, *values in (
                (0.12, "legacy", True, False, False, None), (0.12, "add_prefix_space", True, False, None), (0.1, "add_eos_token", True, False, None),
                (0.1, "add_bos_token", True, False, None, 0, 1, ""), (0.1, "clean_up_tokenization_spaces", True, None), (0.05, "split_special_tokens", True),
                (0.05, "tokenizer_file", None), (0.05, "from_slow", True, False), (0.05, "extra_special_tokens", {"image_token": self.pick(*CONTENTS)}),
                (0.05, "padding_side", "right", "left", None, "x"), (0.05, "truncation_side", "right", "left"), (0.05, "model_max_length", 5, 10**30, None)):
            if self.chance(chance):
                self.set(key, *values)
        if self.chance(0.05):
            self.set(self.pick("padding_side", "legacy", "add_eos_token"), "right", False, file="special_tokens_map.json")

    def change_steps(self):
        def step(key, *values):
            self.set(key, *values, file="tokenizer.json")

        if self.chance(0.35):
            strip = {"type": "Strip", "strip_left": self.chance(0.5), "strip_right": self.chance(0.5)}
            letters = {"type": "Replace", "pattern": {"String": "a"}, "content": "b"}
            step("normalizer", None, REPLACE, sequence("normalizers", REPLACE), sequence("normalizers", REPLACE, PREPEND), sequence("normalizers", strip, PREPEND, REPLACE),
                 {"type": "Prepend", "prepend": "a "}, sequence("normalizers", letters, PREPEND, REPLACE))
        if self.chance(0.3):
            step("pre_tokenizer", metaspace(self.pick("always", "first", "never"), self.chance(0.5)), {"type": "Metaspace", "replacement": "▁", "add_prefix_space": True},
                 sequence("pretokenizers", metaspace("first")))
        if self.chance(0.25):
            strip = {"type": "Strip", "content": " ", "start": self.random.randint(0, 2), "stop": 0}
            umlaut = {"type": "Replace", "pattern": {"String": "a"}, "content": "ä"}
            step("decoder", None, metaspace(self.pick("always", "first", "never")), sequence("decoders", BACK, FUSE), sequence("decoders", BACK, strip),
                 sequence("decoders", BYTES, FUSE, BACK, strip), BYTES, sequence("decoders", BYTES, metaspace("first")),
                 sequence("decoders", BACK, BYTES, FUSE, FUSE, strip, umlaut))
        if self.chance(0.05):
            step("padding", {"strategy": "BatchLongest", "direction": self.pick("Left", "Right"), "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0, "pad_token": "<pad>"})
        if self.chance(0.05):
            step("truncation", {"direction": self.pick("Left", "Right"), "max_length": 5, "strategy": "LongestFirst", "stride": 0})

    def change_model(self):
        for chance, key, *values in ((0.1, "ignore_merges", True), (0.1, "byte_fallback", False), (0.1, "fuse_unk", False), (0.05, "unk_token", None, "zzz"),
                                     (0.05, "vocab/zq", 640, 900)):
            if self.chance(chance):
                self.set("model/" + key, *values, file="tokenizer.json")
        if self.chance(0.05):
            self.changes["tokenizer.json"].append(drop("/model/vocab/<0xE6>"))

    def texts(self, count):
        return ["".join(self.pick(*FRAGMENTS) for _ in range(self.random.randint(1, 9))) for _ in range(count)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=GOLDEN)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=170)
    parser.add_argument("--texts", type=int, default=3)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    rows = []
    for changes, texts in EXPLICIT if options.first == 0 else []:
        for form in ("both", "model"):
            rows.append({"form": form, "files": changes, "seen": observe_tokenizer(load_tokenizer(form, changes), texts, [])})
    for index in range(options.first, options.first + options.count):
        variant = Variant(index)
        texts, ids = variant.texts(options.texts), [variant.random.randrange(650) for _ in range(8)]
        rows.append({"form": variant.form, "files": {name: change for name, change in variant.changes.items() if change != []},
                     "seen": observe_tokenizer(load_tokenizer(variant.form, variant.changes), texts, ids)})
    write_rows(options.write or options.out / "tokenizer" / "variants.json", {"versions": versions(), "seed": SEED}, "variants", rows)


if __name__ == "__main__":
    main()
