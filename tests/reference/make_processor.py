"""Prompts through IdeficsProcessor: ids, masks, and hashes of the pixels.

Writes tests/golden/data/processor/cases.json; lengths.json: the same with lengths and sizes that a
call sets; markdown.json: texts split at ![](URL) by the expression of text-generation-inference;
bad_words.json; and urls.json: strings, and whether the processor treats them as URLs of pictures. Pictures have their names in the corpus of make_pictures.py.
"""

import io
import json
import random
import re

import torch
from common import GOLDEN, fnv1a, output_folder
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoTokenizer, IdeficsImageProcessor, IdeficsProcessor
from transformers.models.idefics.processing_idefics import is_url

PICTURES = {key: next(n for n in sorted(load_file(GOLDEN / "pictures" / "corpus.safetensors")) if key in n) for key in ("rgb.png", "s2q75.jpg", "rgba.png")}
A, B, C = ({"image": name} for name in PICTURES.values())
PROMPTS = [
    [["hello"]], [[""]], [["  hello  "]], [["\n hello\t"]], [[A]], [[A, A]], [[A, "", B]], [[A, " ", B]], [["User:", A, "what is this?"]],
    [["User:", "two texts", A, "then", "two more"]], [[A, "first</s>", "second"], [B, "</s>", C, "x"]], [["typed <image> here"]],
    [["typed <image> here", A]], [["a<s>b</s>c<unk>"]], [["<end_of_utterance>", "again<end_of_utterance>"]], [["not a url: http://"]],
    [["https:/x", "mailto:a@b"]], [["short"], ["a longer prompt", A], [A, B, "two pictures", C]], [["no"], ["pictures", "here"]],
    [["User:", A, "Describe.<end_of_utterance>", "\nAssistant:"]], [[A, "x"], ["</s>", A, "y</s>z"]], [["é日本😀", A]], [[" lead", A, " trail "]],
]
OPTIONS = [{}, {"add_eos_token": True}, {"add_end_of_utterance_token": False}, {"add_end_of_utterance_token": True}, {"padding_side": "right"},
           {"padding_side": "right", "add_eos_token": True, "add_end_of_utterance_token": True}]
LENGTHS = [{"truncation": True, "max_length": n} for n in (1, 2, 4, 7, 100)] + [{"padding": "max_length", "max_length": n} for n in (3, 20)] + [
    {"padding": "max_length", "max_length": 6, "truncation": True}, {"padding": "max_length", "max_length": 9, "truncation": True, "padding_side": "right"},
    {"max_length": 3}, {"truncation": True, "max_length": 5, "truncation_side": "left"}, {"image_size": 14}, {"image_size": 46, "truncation": True, "max_length": 8}]
LENGTH_PROMPTS = [[["hello"]], [["User:", A, "what is this?"]], [[A, A]], [["short"], ["a longer prompt", A], [A, B, "two pictures", C]]]
MARKDOWN = re.compile(r"!\[[^\]]*\]\((.*?)\s*(\"(?:.*[^\"])\")?\s*\)")
MARKDOWN_PARTS = ["![", "]", "(", ")", "![](", "![a](", '"', "u", " ", "\n", "x y", "](", "!", "[", '"t"', "http://a/b.png", "\t"]
BAD_WORDS = ["cat", "dog", "Two words", "é", "<image>", "a", "日本", "x.y", "CAT"]
URLS = ["", "x", "http", "http:", "http:/", "http://", "http://a", "HTTP://A", "http:///a", "http://?a", "http://#a", "http://a?b", "http:// a", "http://a b",
        " http://a", "\thttp://a", "\n\x01http://a", "ht\ttp://a", "http:\n//a", "http://\n", "http://\n/a", "http://a\n", "\u00a0http://a", "//a", "://a", "a://",
        "a://b", "1a://b", "a1+-.://b", "a_b://c", "é://b", "a:b://c", "x:http://a", "mailto:a@b", "data:image/png;base64,AAAA", "data://a", "file:///a", "file://a/b",
        "s3://bucket/key", "http://é", "http://a:80", "http://:80", "http://@", "http://[::1]/a", "see:http://a", "http://a/http://b", "C:\\a", "C://a", "\\\\a", "http:\\\\a"]


def run(tokenizer_name, prompts, options):
    options = dict(options)
    sides = {"padding_side": options.pop("padding_side", "left"), "truncation_side": options.pop("truncation_side", "right")}
    tokenizer = AutoTokenizer.from_pretrained(GOLDEN / "tokenizer" / tokenizer_name, **sides)
    processor = IdeficsProcessor(IdeficsImageProcessor(image_size=30), tokenizer)
    corpus = load_file(GOLDEN / "pictures" / "corpus.safetensors")
    items = [[i if isinstance(i, str) else Image.open(io.BytesIO(corpus[i["image"]].numpy().tobytes())) for i in p] for p in prompts]
    out = processor(text=items, return_tensors="pt", **({"padding": "longest"} | options))
    seen = out["image_attention_mask"]
    return {"input_ids": out["input_ids"].tolist(), "attention_mask": out["attention_mask"].tolist(),
            "image_attention_mask": seen.long().tolist(), "image_attention_mask_dtype": "bool" if seen.dtype == torch.bool else "i64",
            "pixel_values_shape": list(out["pixel_values"].shape), "pixel_values_hash": str(fnv1a(out["pixel_values"].numpy().astype("<f4").tobytes()))}


def split(text):
    """Of text-generation-inference: parts, and whether each is a picture."""
    parts, cursor = [], 0
    for match in MARKDOWN.finditer(text):
        if match.start() != cursor:
            parts.append([text[cursor : match.start()], False])
        parts.append([match.group(1), True])
        cursor = match.end()
    return parts + ([[text[cursor:], False]] if cursor != len(text) else [])


def bad_words(tokenizer_name):
    """As transformers' documentation of bad_words_ids has them: with a space before the word, and without."""
    folder = GOLDEN / "tokenizer" / tokenizer_name
    spaced = AutoTokenizer.from_pretrained(folder)
    line = spaced("\n", add_special_tokens=False).input_ids
    rows = []
    for word in BAD_WORDS:
        glued = spaced("\n" + word, add_special_tokens=False).input_ids
        assert glued[: len(line)] == line
        rows.append([word, spaced(word, add_special_tokens=False).input_ids, glued[len(line) :]])
    return rows


def main():
    folder = output_folder() / "processor"
    folder.mkdir(parents=True, exist_ok=True)
    lengths = []
    for tokenizer in ("base", "instruct"):
        for prompts in LENGTH_PROMPTS:
            for options in LENGTHS:
                if "image_size" in options and prompts == [["hello"]]:
                    continue  # without pictures the reference makes zeros of the default size
                try:
                    lengths.append({"tokenizer": tokenizer, "prompts": prompts, "options": options} | run(tokenizer, prompts, options))
                except (RuntimeError, ValueError):
                    pass  # rows of several lengths, or pictures of several sizes, which the reference cannot stack
    (folder / "lengths.json").write_text("[" + ",\n".join(json.dumps(c) for c in lengths) + "]\n")
    r = random.Random(1)
    texts = ["".join(r.choice(MARKDOWN_PARTS) for _ in range(r.randrange(1, 14))) for _ in range(400)]
    texts += ["User: ![](http://a/b.png)What?", "![](data:image/png;base64,AA==)", '![x](u "t") and ![](v)', "![](u 'v')"]
    (folder / "markdown.json").write_text("[" + ",\n".join(json.dumps([t, split(t)]) for t in texts) + "]\n")
    (folder / "bad_words.json").write_text(json.dumps({t: bad_words(t) for t in ("base", "instruct")}) + "\n")
    print(len(lengths), "lengths")
    cases = []
    for tokenizer in ("base", "instruct"):
        for prompts in PROMPTS:
            for options in OPTIONS:
                if tokenizer == "base" and options.get("add_end_of_utterance_token"):
                    continue
                cases.append({"tokenizer": tokenizer, "prompts": prompts, "options": options} | run(tokenizer, prompts, options))
    (folder / "cases.json").write_text("[" + ",\n".join(json.dumps(c) for c in cases) + "]\n")
    urls = [[text, is_url(text)] for text in URLS]
    (folder / "urls.json").write_text("[" + ",\n".join(json.dumps(u) for u in urls) + "]\n")
    print(len(cases), "cases")


if __name__ == "__main__":
    main()
