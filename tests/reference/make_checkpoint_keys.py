"""Every key of a checkpoint's files that the reference asks for, and what it makes of values of them.

Writes tests/golden/data/checkpoint_keys.json. The keys are collected from the reference itself
(asked_keys.py); golden/checkpoint_keys.cpp compares them with docs/checkpoint_keys.md.
"""

import json

import torch
from asked_keys import Watch, arguments_of, keys_in
from common import output_folder, versions, write_rows
from PIL import Image
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import (GenerationConfig, IdeficsConfig, IdeficsForVisionText2Text, IdeficsImageProcessor, IdeficsProcessor,
                          LlamaTokenizer, LlamaTokenizerFast, PretrainedConfig, PreTrainedModel, PreTrainedTokenizer, PreTrainedTokenizerFast)
from transformers.image_processing_base import ImageProcessingMixin
from transformers.models.idefics.configuration_idefics import IdeficsPerceiverConfig, IdeficsVisionConfig
from transformers.models.idefics.processing_idefics import IdeficsProcessorKwargs
from transformers.processing_utils import ProcessorMixin
from transformers.tokenization_utils_base import PreTrainedTokenizerBase, SpecialTokensMixin
from variants import BASE, NAMES, TINY, Folder, load_tokenizer, observe_tokenizer, put

TOKENIZER_CLASSES = (LlamaTokenizerFast, LlamaTokenizer, PreTrainedTokenizerFast, PreTrainedTokenizer, PreTrainedTokenizerBase, SpecialTokensMixin)


def watched():
    """The keys that are asked for while a checkpoint with all its files is loaded and used."""
    extra = {"processor_config.json": {"processor_class": "IdeficsProcessor"}, "added_tokens.json": {}}
    with Folder("both", extra, NAMES) as path, Attributes(PretrainedConfig) as attributes:
        (path / "model.safetensors").write_bytes((TINY / "model.safetensors").read_bytes())
        with Watch(path) as watch:
            for name in ("tokenizer_config.json", None):
                processor = IdeficsProcessor.from_pretrained(path)
                model = IdeficsForVisionText2Text.from_pretrained(path)
                inputs = processor(text=["a", Image.new("RGB", (8, 8))], return_tensors="pt")
                model.generate(**inputs, max_new_tokens=1)
                if name:  # then with the older layout
                    config = dict(BASE[name])
                    del config["added_tokens_decoder"]
                    (path / name).write_text(json.dumps(config))
    watch.notes["config.json"] |= {name for name in attributes.names if not name.startswith("_") and not hasattr(PretrainedConfig, name)}
    return watch.notes


class Attributes:
    """Within it, the names of attributes that a class's objects are asked for are noted."""

    def __init__(self, owner):
        self.owner, self.names = owner, set()

    def __enter__(self):
        names, plain = self.names, self.owner.__getattribute__
        self.plain = plain

        def ask(self, name):
            names.add(name)
            return plain(self, name)

        self.owner.__getattribute__ = ask
        return self

    def __exit__(self, *_):
        self.owner.__getattribute__ = self.plain


def tokenizer_json_keys():
    """What the reference writes, with every step that it has for tokenizers of this kind."""
    made = Tokenizer(models.BPE({"a": 0}, [], unk_token="a", fuse_unk=True, byte_fallback=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("a"), normalizers.Replace("a", "b"), normalizers.Strip()])
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace()])
    made.decoder = decoders.Sequence([decoders.Replace("a", "b"), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip("a", 1, 0), decoders.Metaspace()])
    made.add_special_tokens([AddedToken("b")])
    made.enable_padding()
    made.enable_truncation(5)
    found = set()

    def walk(value, path):
        if isinstance(value, dict) and path not in ("model.vocab.",):
            for key, inner in value.items():
                found.add(path + key)
                walk(inner, path + key + ".")
        if isinstance(value, list):
            for inner in value:
                walk(inner, path)

    walk(json.loads(made.to_str()), "")
    return {key for key in found if not key.startswith("model.vocab.")}


def asked_keys():
    notes = watched()
    tokenizer = arguments_of(*(c.__init__ for c in TOKENIZER_CLASSES))
    tokenizer |= arguments_of(PreTrainedTokenizerBase._from_pretrained.__func__, dicts=("init_kwargs",)) - set(
        ("resolved_vocab_files", "pretrained_model_name_or_path", "init_configuration", "token", "cache_dir", "local_files_only", "trust_remote_code"))
    tokenizer |= set(SpecialTokensMixin.SPECIAL_TOKENS_ATTRIBUTES)
    image = arguments_of(IdeficsImageProcessor.__init__, ImageProcessingMixin.__init__) | keys_in(ImageProcessingMixin.from_dict.__func__, ("image_processor_dict",))
    processor = arguments_of(IdeficsProcessor.__init__) | keys_in(ProcessorMixin.get_processor_dict.__func__, ("processor_dict",)) | keys_in(
        ProcessorMixin.from_args_and_dict.__func__, ("processor_dict",))
    config = arguments_of(IdeficsConfig.__init__, PretrainedConfig.__init__) | keys_in(PretrainedConfig.from_dict.__func__, ("config_dict",)) | keys_in(
        PretrainedConfig._get_config_dict.__func__, ("config_dict",)) | keys_in(PreTrainedModel.from_pretrained.__func__, ("config", "config_dict"))
    nested = {f"{key}.{name}" for key, kind in (("vision_config", IdeficsVisionConfig), ("perceiver_config", IdeficsPerceiverConfig))
              for name in arguments_of(kind.__init__)}
    generation = arguments_of(GenerationConfig.__init__) | keys_in(GenerationConfig.from_dict.__func__, ("config_dict",))
    keys = {"tokenizer_config.json": tokenizer | CALLS, "preprocessor_config.json": image, "processor_config.json": processor,
            "generation_config.json": generation, "config.json": config | nested, "tokenizer.json": tokenizer_json_keys(),
            "special_tokens_map.json": set(SpecialTokensMixin.SPECIAL_TOKENS_ATTRIBUTES)}
    for name, found in keys.items():
        found |= {key for key in notes.get(name, ()) if not key[0].isdigit() and ".vocab." not in key and "added_tokens_decoder." not in key}
        found -= {"kwargs", "args", "verbose_", "__slow_tokenizer"}
    return {name: sorted(found) for name, found in keys.items()}


GENERIC = [None, True, False, 0, 1, "", "x", [], {}]
TOKEN = ["<image>", "cat", "<new>", {"__type": "AddedToken", "content": "<image>", "lstrip": True, "normalized": False}, {"content": "<image>"}]
TOKENIZER_VALUES = {
    "bos_token": TOKEN, "eos_token": TOKEN, "unk_token": TOKEN, "pad_token": TOKEN, "sep_token": TOKEN, "cls_token": TOKEN, "mask_token": TOKEN,
    "additional_special_tokens": [["cat"], ["<image>", "<image>"], [{"content": "cat"}], [TOKEN[3]], [1]],
    "extra_special_tokens": [{"image_token": "cat"}, {"image_token": "<new>"}, {"image_token": 1}, ["<new>"], {"bos_token": "cat"}],
    "added_tokens_decoder": [{"643": {"content": "cat"}}, {"643": "cat"}, {"x": {"content": "cat"}}, {"643": {"content": "cat", "id": 5}}, {"643": {"content": "cat", "normalized": None}}],
    "padding_side": ["left", "right"], "truncation_side": ["left", "right"], "model_max_length": [5, 7.9, 1e30, -1], "max_len": [5], "chat_template": ["a", {"default": "b"}],
    "tokenizer_class": ["LlamaTokenizer", "GPT2Tokenizer"], "tokenizer_file": ["tokenizer.json"], "vocab_file": ["tokenizer.model"],
    "sp_model_kwargs": [{"enable_sampling": True}], "fast_tokenizer_files": [["tokenizer.json"], ["tokenizer.4.0.0.json"]], "init_inputs": [["tokenizer.model"]],
    "max_length": [3], "padding": ["longest", "max_length"], "truncation": ["longest_first"], "pad_to_multiple_of": [4]}
# keywords of each call, for which the tokenizer's arguments are the processor's defaults
CALLS = set().union(*(IdeficsProcessorKwargs.__annotations__[kind].__annotations__ for kind in IdeficsProcessorKwargs.__annotations__))
TEXTS = ["<s>a <image>\u3000b</s>", "cat , é<unk>"]
IMAGE_VALUES = {
    "image_size": [3, 8, 2.5, -1], "image_mean": [0.5, [0.1, 0.2, 0.3], [0.1], [0.1, None, 0.3], -2], "image_std": [0.5, [0.1, 0.2, 0.3], [0.1], -0.5, [1, 1, 0]],
    "rescale_factor": [0.5, 2, -1, 1e-3], "image_num_channels": [3, 4]}


class Distinct:
    """Values, each once, and their indices."""

    def __init__(self):
        self.values, self.indices = [], {}

    def add(self, value):
        text = json.dumps(value)
        if text not in self.indices:
            self.indices[text] = len(self.values)
            self.values.append(value)
        return self.indices[text]


def picture():
    made = Image.new("RGB", (6, 4))
    made.putdata([(i * 9 % 256, i * 40 % 256, 255 - i * 10) for i in range(24)])
    return made


def processed(tokenizer, image_processor):
    """Ids, masks and some pixels of a prompt with a picture and one without; null if the reference fails."""
    try:
        processor = IdeficsProcessor(image_processor, tokenizer)
        out = processor(text=[["User: a", picture(), "cat"], ["b"]], return_tensors="pt")
    except BaseException:
        return None
    pixels = out["pixel_values"]
    return {"ids": out["input_ids"].tolist(), "mask": out["attention_mask"].tolist(), "shape": list(pixels.shape),
            "pixels": pixels[0, 0, :, 0, :2].flatten().tolist()}


def tokenizer_variants(keys, seen):
    small = IdeficsImageProcessor(image_size=4)
    for file in ("tokenizer_config.json", "special_tokens_map.json"):
        for key in keys[file]:
            if "." in key or key == "__type":  # of nested objects, which are values of other keys
                continue
            for value in GENERIC + TOKENIZER_VALUES.get(key, []):
                for form in ("both",) if key in CALLS - {"add_eos_token"} else ("both", "model"):
                    changes = {file: [put("/" + key, value)]}
                    if file == "special_tokens_map.json":  # where it counts
                        changes["tokenizer_config.json"] = [{"op": "remove", "path": "/added_tokens_decoder"}]
                    tokenizer = load_tokenizer(form, changes)
                    yield [file, key, value, form, seen.add(observe_tokenizer(tokenizer, TEXTS, [5, 300, 641])), seen.add(tokenizer and processed(tokenizer, small))]


def image_variants(keys, seen):
    name = "preprocessor_config.json"
    tokenizer = load_tokenizer("both", {})
    for key in sorted({*keys[name], "do_resize", "resample", "do_normalize", "normalize"}):
        for value in GENERIC + IMAGE_VALUES.get(key, []):
            changes = {name: [put("/image_size", 4), put("/" + key, value)]}
            with Folder("both", changes, (name,)) as path:
                try:
                    found = processed(tokenizer, IdeficsImageProcessor.from_pretrained(path))
                except BaseException:
                    found = None
            yield [name, key, value, "both", None, seen.add(found)]


def processor_variants(keys, seen):
    name = "processor_config.json"
    for key in keys[name]:
        for value in GENERIC:
            changes = {name: {key: value}, "preprocessor_config.json": [put("/image_size", 4)]}
            with Folder("both", changes, NAMES[:4]) as path:
                try:
                    loaded = IdeficsProcessor.from_pretrained(path)
                    found = processed(loaded.tokenizer, loaded.image_processor)
                except BaseException:
                    found = None
            yield [name, key, value, "both", None, seen.add(found)]


def main():
    keys, seen = asked_keys(), Distinct()
    rows = [*tokenizer_variants(keys, seen), *image_variants(keys, seen), *processor_variants(keys, seen)]
    print(len(rows), "variants", len(seen.values), "results")
    write_rows(output_folder() / "checkpoint_keys.json", {"versions": versions(), "keys": keys, "seen": seen.values,
                "columns": ["file", "key", "value", "form", "tokenizer", "processor"]}, "variants", rows)


if __name__ == "__main__":
    main()
