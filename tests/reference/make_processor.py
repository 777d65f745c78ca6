"""Prompts through IdeficsProcessor: ids, masks, and hashes of the pixels.

Writes tests/golden/data/processor/cases.json, and urls.json: strings, and whether the processor
treats them as URLs of pictures. Pictures have their names in the corpus of make_pictures.py.
"""

import io
import json

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
URLS = ["", "x", "http", "http:", "http:/", "http://", "http://a", "HTTP://A", "http:///a", "http://?a", "http://#a", "http://a?b", "http:// a", "http://a b",
        " http://a", "\thttp://a", "\n\x01http://a", "ht\ttp://a", "http:\n//a", "http://\n", "http://\n/a", "http://a\n", "\u00a0http://a", "//a", "://a", "a://",
        "a://b", "1a://b", "a1+-.://b", "a_b://c", "é://b", "a:b://c", "x:http://a", "mailto:a@b", "data:image/png;base64,AAAA", "data://a", "file:///a", "file://a/b",
        "s3://bucket/key", "http://é", "http://a:80", "http://:80", "http://@", "http://[::1]/a", "see:http://a", "http://a/http://b", "C:\\a", "C://a", "\\\\a", "http:\\\\a"]


def run(tokenizer_name, prompts, options):
    options = dict(options)
    tokenizer = AutoTokenizer.from_pretrained(GOLDEN / "tokenizer" / tokenizer_name, padding_side=options.pop("padding_side", "left"))
    processor = IdeficsProcessor(IdeficsImageProcessor(image_size=30), tokenizer)
    corpus = load_file(GOLDEN / "pictures" / "corpus.safetensors")
    items = [[i if isinstance(i, str) else Image.open(io.BytesIO(corpus[i["image"]].numpy().tobytes())) for i in p] for p in prompts]
    out = processor(text=items, return_tensors="pt", padding="longest", **options)
    seen = out["image_attention_mask"]
    return {"input_ids": out["input_ids"].tolist(), "attention_mask": out["attention_mask"].tolist(),
            "image_attention_mask": seen.long().tolist(), "image_attention_mask_dtype": "bool" if seen.dtype == torch.bool else "i64",
            "pixel_values_shape": list(out["pixel_values"].shape), "pixel_values_hash": str(fnv1a(out["pixel_values"].numpy().astype("<f4").tobytes()))}


def main():
    cases = []
    for tokenizer in ("base", "instruct"):
        for prompts in PROMPTS:
            for options in OPTIONS:
                if tokenizer == "base" and options.get("add_end_of_utterance_token"):
                    continue
                cases.append({"tokenizer": tokenizer, "prompts": prompts, "options": options} | run(tokenizer, prompts, options))
    folder = output_folder() / "processor"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cases.json").write_text("[" + ",\n".join(json.dumps(c) for c in cases) + "]\n")
    urls = [[text, is_url(text)] for text in URLS]
    (folder / "urls.json").write_text("[" + ",\n".join(json.dumps(u) for u in urls) + "]\n")
    print(len(cases), "cases")


if __name__ == "__main__":
    main()
