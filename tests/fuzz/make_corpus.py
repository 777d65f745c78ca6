"""Writes the hand-made part of corpus/: valid inputs of every kind, and faults that other readers
accept.

Usage: make_corpus.py (needs Pillow for the pictures). Files found by fuzzing are kept with them.
"""
import io
import json
import pathlib
import struct
import zlib

from PIL import Image

from template_corpus import template_files
from torch_corpus import torch_files

HERE = pathlib.Path(__file__).parent
TINY = HERE.parent.parent / "samples" / "tiny"


def put(target: str, name: str, content: bytes | str) -> None:
    path = HERE / "corpus" / target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def entry(dtype: str, shape: str, offsets: str) -> str:
    return f'{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}'


def safetensors_file(header: str, data: int) -> bytes:
    return struct.pack("<Q", len(header)) + header.encode() + bytes(data)


def safetensors() -> None:
    def one(name, dtype, shape, offsets, data):
        put("safetensors", name, safetensors_file(f'{{"t":{entry(dtype, shape, offsets)}}}', data))

    put("safetensors", "empty", safetensors_file("{}", 0))
    put("safetensors", "two_tensors", safetensors_file(
        f'{{"__metadata__":{{"format":"pt"}},"a":{entry("F32", "[2,1]", "[0,8]")},'
        f'"b":{entry("BF16", "[3]", "[8,14]")}}}   ', 14))
    one("zero_size", "F16", "[0,7]", "[0,0]", 0)
    one("packed", "F4", "[2]", "[0,1]", 1)
    one("product_wraps", "F32", "[4194305,4194305,211106198978564]", "[0,16]", 16)
    one("product_wraps_to_zero", "F32", "[4294967296,4294967296]", "[0,0]", 0)
    one("shape_larger_than_bytes", "F32", "[1000,1000]", "[0,4]", 4)
    one("begin_behind_end", "F32", "[1]", "[4,0]", 4)
    one("end_behind_file", "F32", "[2]", "[0,8]", 4)
    one("begin_near_2_64", "F32", "[1]", "[18446744073709551612,18446744073709551615]", 4)
    one("unknown_dtype", "F31", "[1]", "[0,4]", 4)
    one("negative", "F32", "[-1]", "[0,4]", 4)
    one("exponent", "F32", "[1e0]", "[0,4]", 4)
    one("above_64_bits", "F32", "[99999999999999999999]", "[0,4]", 4)
    one("many_dimensions", "U8", "[" + "1," * 200 + "1]", "[0,1]", 1)
    one("half_a_byte", "F4", "[1]", "[0,0]", 0)
    pair = entry("F32", "[1]", "[0,4]")
    put("safetensors", "same_range_twice", safetensors_file(f'{{"k":{pair},"v":{pair}}}', 4))
    put("safetensors", "same_name_twice", safetensors_file(f'{{"k":{pair},"k":{pair}}}', 4))
    put("safetensors", "same_field_twice", safetensors_file(
        '{"k":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}', 4))
    put("safetensors", "metadata_number", safetensors_file('{"__metadata__":{"n":1}}', 0))
    put("safetensors", "metadata_tensor", safetensors_file(f'{{"__metadata__":{pair}}}', 4))
    put("safetensors", "trailing_newline", safetensors_file("{}\n", 0))
    put("safetensors", "array", safetensors_file("[]", 0))
    put("safetensors", "deep", safetensors_file("{" + '"a":[' + "[" * 500, 0))
    put("safetensors", "many_tiny", safetensors_file(
        "{" + ",".join(f'"{i}":{entry("F32", "[0]", "[0,0]")}' for i in range(20)) + "}", 0))
    inner = lambda depth: '{"t":{"x":' + "[" * depth + "]" * depth + f',{pair[1:]}}}'
    put("safetensors", "unknown_field_125_deep", safetensors_file(inner(125), 4))
    put("safetensors", "unknown_field_126_deep", safetensors_file(inner(126), 4))
    put("safetensors", "unknown_field_twice", safetensors_file(f'{{"t":{{"x":1e99,"x":-0,{pair[1:]}}}', 4))
    put("safetensors", "metadata_null", safetensors_file('{"__metadata__":null}', 0))
    put("safetensors", "metadata_twice", safetensors_file('{"__metadata__":{},"__metadata__":{}}', 0))
    put("safetensors", "empty_inside_another", safetensors_file(
        f'{{"a":{entry("F32", "[2]", "[0,8]")},"b":{entry("F32", "[0]", "[4,4]")}}}', 8))
    put("safetensors", "escaped_name", safetensors_file(f'{{"\\ud83d\\ude00\\u0000":{pair}}}', 4))
    put("safetensors", "lone_surrogate", safetensors_file(f'{{"\\ud83d":{pair}}}', 4))
    put("safetensors", "infinite_number", safetensors_file(f'{{"t":{{"x":1e999,{pair[1:]}}}', 4))
    put("safetensors", "length_2_63", struct.pack("<Q", 1 << 63) + b"{}")
    put("safetensors", "length_100MB", struct.pack("<Q", 100_000_000) + b"{}")
    put("safetensors", "git_lfs", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")


# The values of the codes, and the 8-bit map, as bitsandbytes stores them.
GOLDEN_4BIT = HERE.parent / "golden" / "data" / "four_bit" / "nf4_double" / "model.safetensors"


def tables() -> tuple[bytes, bytes]:
    content = GOLDEN_4BIT.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8:8 + length])
    name = "model.layers.0.mlp.up_proj.weight"
    spans = [header[name + end]["data_offsets"] for end in (".quant_map", ".nested_quant_map")]
    return tuple(content[8 + length + a:8 + length + b] for a, b in spans)


def quant_states() -> None:
    quant_map, nested_map = tables()
    single = {"quant_type": "nf4", "blocksize": 64, "dtype": "float16", "shape": [2, 33]}
    double = single | {"nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": 0.25}

    def state(name, about, drop=(), kind="nf4", codes=("U8", [33, 1], bytes(33)), text=None, **parts):
        nested = "nested_offset" in about
        parts = {".absmax": ("U8", [2], bytes(2)) if nested else ("F32", [2], bytes(8)), ".quant_map": ("F32", [16], quant_map)} | (
            {".nested_absmax": ("F32", [1], bytes(4)), ".nested_quant_map": ("F32", [256], nested_map)} if nested else {}) | parts
        tensors = {"t" + k: v for k, v in parts.items() if k not in drop} | {"t": codes}
        content = (text if text is not None else json.dumps(about)).encode()
        tensors[f"t.quant_state.bitsandbytes__{kind}"] = ("U8", [len(content)], content)
        save(name, tensors)

    def save(name, tensors):
        header, data = {}, b""
        for key, (dtype, shape, blob) in tensors.items():
            header[key] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(blob)]}
            data += blob
        text = json.dumps(header)
        put("quant_state", name, struct.pack("<Q", len(text)) + text.encode() + data)

    def int8(name, **parts):
        tensors = {"weight": ("I8", [3, 5], bytes(15)), "SCB": ("F32", [3], bytes(12)), "weight_format": ("U8", [], bytes(1))} | parts
        save("int8_" + name, {f"t.{key}": tensor for key, tensor in tensors.items() if tensor})

    int8("row")
    int8("old", weight_format=None)
    int8("no_constants", SCB=None)
    int8("turing", weight_format=("U8", [], b"\2"))
    int8("long_format", weight_format=("I32", [2], bytes(8)))
    int8("plain", weight=("F32", [3, 5], bytes(60)))
    int8("cube", weight=("I8", [3, 5, 1], bytes(15)))
    int8("few_constants", SCB=("F32", [2], bytes(8)))
    state("single", single)
    state("double", double)
    state("stored_f16", single | {"shape": [2, 32]}, codes=("F16", [16, 1], bytes(32)), **{".absmax": ("F32", [1], bytes(4))})
    state("type_of_name", single, kind="fp4")
    state("blocksize_48", single | {"blocksize": 48})
    state("blocksize_text", single | {"blocksize": "64"})
    state("blocksize_lies", single | {"blocksize": 32})
    state("dtype_int", single | {"dtype": "int8"})
    state("shape_lies", single | {"shape": [2, 64]})
    state("shape_wraps", single | {"shape": [2**33, 2**33]})
    state("shape_empty", single | {"shape": [0, 2]})
    state("shape_negative", single | {"shape": [-2, 33]})
    state("row_of_codes", single, codes=("U8", [1, 33], bytes(33)))
    state("codes_i32", single | {"shape": [2, 32]}, codes=("I32", [8, 1], bytes(32)))
    state("table_of_zeros", single, **{".quant_map": ("F32", [16], bytes(64))})
    state("table_of_nan", single, **{".quant_map": ("F32", [16], b"\xff" * 64)})
    state("no_absmax", single, drop=[".absmax"])
    state("absmax_u8", single, **{".absmax": ("U8", [2], bytes(2))})
    state("nested_unsaid", single, **{".nested_absmax": ("F32", [1], bytes(4))})
    state("nested_missing", double, drop=[".nested_absmax"])
    state("nested_blocksize", double | {"nested_blocksize": 128})
    state("nested_infinite", double, text=json.dumps(double).replace("0.25", "1e39"))
    state("no_json", single, text="nf4")
    state("key_twice", single, text='{"blocksize": 64, "blocksize": 64}')
    state("long_json", single, text=json.dumps(single) + " " * 5000)


def adapters() -> None:
    """adapter_config.json, a zero byte, adapter_model.safetensors, for a model of width 4."""
    plain = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}
    q = "base_model.model.model.layers.0.self_attn.q_proj.lora_"

    def adapter(name, config, **shapes):
        header, at = {}, 0
        for key, shape in shapes.items():
            size = 4
            for dim in shape:
                size *= dim
            header[key] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
            at += size
        put("adapter", name, json.dumps(config).encode() + b"\0" + safetensors_file(json.dumps(header), at))

    pair = {q + "A.weight": [2, 4], q + "B.weight": [4, 2]}
    adapter("plain", plain, **pair)
    adapter("rank_pattern", plain | {"rank_pattern": {"q_proj": 1}, "alpha_pattern": {"q_proj": 0.5}, "use_rslora": True},
            **{q + "A.weight": [1, 4], q + "B.weight": [4, 1]})
    adapter("saved_module", plain | {"modules_to_save": ["norm"]}, **pair, **{"base_model.model.model.norm.weight": [4]})
    adapter("saved_but_not_named", plain, **pair, **{"base_model.model.model.norm.weight": [4]})
    adapter("expression", plain | {"target_modules": ".*q_proj"}, **pair)
    adapter("shape", plain, **{q + "A.weight": [2, 5], q + "B.weight": [4, 2]})
    adapter("half_a_pair", plain, **{q + "A.weight": [2, 4]})
    adapter("other_layer", plain, **{key.replace("layers.0", "layers.7"): shape for key, shape in pair.items()})
    adapter("other_prefix", plain, **{key[11:]: shape for key, shape in pair.items()})
    adapter("dora", plain | {"use_dora": True}, **pair)
    adapter("bias", plain | {"bias": "all"}, **pair)
    adapter("rank_zero", plain | {"r": 0}, **pair)
    adapter("rank_huge", plain | {"r": 1 << 60}, **pair)
    adapter("alpha_nan", plain | {"lora_alpha": float("nan")}, **pair)
    adapter("other_method", plain | {"peft_type": "LOHA"}, **pair)
    adapter("no_tensors", plain)


def texts() -> None:
    for name, text in {
        "object": '{"a": [1, -2, 3.5, 1e300, true, false, null, "\\u00e9\\ud83d\\ude00"]}',
        "above_64_bits": "[18446744073709551615, 18446744073709551616, -9223372036854775809]",
        "double_overflow": "1e999", "lone_surrogate": '"\\ud800"', "duplicate": '{"a":1,"a":2}', "deep": "[" * 300,
        "deepest": "[" * 16 + "]" * 16, "comment": "/* */ 1", "trailing": "{} {}", "nan": "NaN", "zero_byte": '"a\0b"',
        "escaped_zero": '{"\\u0000":"\\u0000"}', "empty": "", "numbers": "[" + "0," * 200 + "0]",
        "empties": "[" + "{}," * 100 + "[]]", "bom": "\ufeff{}", "minus_zero": "[-0, -0.0, 0.0, 5e-324]",
    }.items():
        put("json", name, text)
    put("json", "invalid_utf8", b'"\xc0\x80"')
    put("json", "surrogate_bytes", b'"\xed\xa0\x80"')

    for name, text in {
        "good": '{"metadata":{"total_size":8},"weight_map":{"a":"model-00001-of-00002.safetensors",'
                '"b":"model-00002-of-00002.safetensors"}}',
        "duplicate": '{"weight_map":{"a":"1.safetensors","a":"2.safetensors"}}', "no_map": "{}", "list": '{"weight_map":[]}',
        "number": '{"weight_map":{"a":1}}', "parent": '{"weight_map":{"a":"../1.safetensors"}}',
        "absolute": '{"weight_map":{"a":"/etc/passwd"}}', "zero_byte": '{"weight_map":{"a":"x\\u0000.safetensors"}}',
        "other_kind": '{"weight_map":{"a":"pytorch_model.bin"}}', "null": "null", "backslash": '{"weight_map":{"a":"..\\\\x.safetensors"}}',
    }.items():
        put("index", name, text)


def configs() -> None:
    tiny = json.loads((TINY / "config.json").read_text())
    put("config", "tiny", json.dumps(tiny))
    put("config", "defaults", '{"model_type":"idefics"}')
    put("config", "other_model", '{"model_type":"llama"}')
    put("config", "flat", '{"model_type":"idefics","vision_embed_dim":8,"vision_image_size":30,"vision_patch_size":2,'
        '"vision_num_attention_heads":4,"vision_num_hidden_layers":5,"vision_intermediate_size":37,"use_resampler":true}')
    put("config", "largest", json.dumps({
        "model_type": "idefics", "vocab_size": 1 << 24, "additional_vocab_size": 1 << 20, "hidden_size": 1 << 20,
        "intermediate_size": 1 << 20, "num_attention_heads": 1, "num_hidden_layers": 64, "use_resampler": True,
        "vision_config": {"embed_dim": 1 << 20, "image_size": 1 << 15, "patch_size": 1, "num_hidden_layers": 64,
                          "intermediate_size": 1 << 20, "num_attention_heads": 1},
        "perceiver_config": {"resampler_depth": 64, "resampler_n_heads": 4096, "resampler_head_dim": 1 << 14,
                             "resampler_n_latents": 1 << 16}}))
    for name, change in {
        "layers_negative": {"num_hidden_layers": -1}, "layers_float": {"num_hidden_layers": 2.0},
        "layers_above_64_bits": {"num_hidden_layers": 10**20}, "layers_text": {"num_hidden_layers": "4"},
        "heads_zero": {"num_attention_heads": 0}, "heads_odd": {"num_attention_heads": 3},
        "interval": {"cross_layer_interval": 3}, "activation": {"hidden_act": "x" * 300}, "alpha": {"alpha_type": "double"},
        "eps": {"rms_norm_eps": -1}, "eps_large": {"rms_norm_eps": 1e300}, "vision_list": {"vision_config": []},
        "vision_null": {"vision_config": None}, "eos_list": {"eos_token_id": [2, 5]}, "eos_null_in_list": {"eos_token_id": [None]},
        "eos_large": {"eos_token_id": 1 << 40}, "patch": {"vision_config": {"image_size": 4, "patch_size": 14}},
    }.items():
        put("config", name, json.dumps({"model_type": "idefics", **change}))

    put("generation_config", "tiny", (TINY / "generation_config.json").read_text())
    for name, value in {
        "words": {"bad_words_ids": [[31999], [1, 2]]}, "words_null": {"bad_words_ids": [None]}, "words_flat": {"bad_words_ids": [1]},
        "words_large": {"bad_words_ids": [[1 << 33]]}, "words_text": {"bad_words_ids": "x"}, "words_deep": {"bad_words_ids": [[[1]]]},
        "eos": {"eos_token_id": [1, 2], "pad_token_id": 0}, "eos_negative": {"eos_token_id": -1}, "length_zero": {"max_new_tokens": 0},
        "length_above_64_bits": {"max_length": 10**30}, "length_float": {"max_length": 1.5}, "beams": {"num_beams": 4},
        "sampling": {"do_sample": True, "temperature": 0.7}, "penalty": {"repetition_penalty": 1e300}, "list": [], "null": None,
        "null_eos": {"eos_token_id": None},
    }.items():
        put("generation_config", name, json.dumps(value))

    for name, value in {
        "watermark": {"watermarking_config": {"hashing_key": 2**63 - 1, "bias": 2.5}}, "watermark_negative": {"watermarking_config": {"hashing_key": -(2**63)}},
        "selfhash": {"watermarking_config": {"seeding_scheme": "selfhash", "context_width": 2**62}}, "sentinels": {"eos_token_id": [-1, 2], "pad_token_id": -1},
        "ends_twice": {"eos_token_id": [5, 5], "exponential_decay_length_penalty": [0, 1.5], "min_new_tokens": 2},
        "lookup": {"prompt_lookup_num_tokens": 2**62, "max_matching_ngram_size": 2**62, "suppress_tokens": [5, 7]},
        "biases": {"sequence_bias": [[[5], 2.0], [[7, 5], 1.0], [[5], -3.0]]}, "phrases": {"num_beams": 4, "force_words_ids": [[5, 6], [[7], [8, 9]]]},
        "prefixes": {"num_beams": 4, "force_words_ids": [[[5, 6], [5]]]}, "min_overflow": {"min_new_tokens": 2**63 - 1}, "cold": {"temperature": 0.0},
        "sampled": {"do_sample": True, "temperature": 1e-300, "top_k": 3, "top_p": 0.5, "min_p": 0.1, "typical_p": 0.5, "epsilon_cutoff": 0.5, "eta_cutoff": 0.5},
        "repeats": {"repetition_penalty": 1e300, "no_repeat_ngram_size": 2, "encoder_no_repeat_ngram_size": 2**62, "encoder_repetition_penalty": 1e-300},
        "ends": {"forced_bos_token_id": 3, "forced_eos_token_id": [2, 3], "begin_suppress_tokens": [1], "remove_invalid_values": True, "renormalize_logits": True},
    }.items():
        put("options", name, json.dumps(value))

    put("preprocessor_config", "tiny", (TINY / "preprocessor_config.json").read_text())
    for name, value in {
        "size_zero": {"image_size": 0}, "size_large": {"image_size": 1 << 40}, "size_negative": {"image_size": -224},
        "size_object": {"image_size": {"height": 224}}, "mean_short": {"image_mean": [0.5]}, "mean_text": {"image_mean": ["a", 1, 2]},
        "std_zero": {"image_std": [0, 1, 1]}, "std_tiny": {"image_std": [1e-300, 1, 1]}, "std_large": {"image_std": [1e300, 1, 1]},
        "list": [], "null": None,
    }.items():
        put("preprocessor_config", name, json.dumps(value))

    for name, value in {
        "text": ["User:", "What is this?"], "batch": [["a"], [{"text": "b"}, "c"], []], "url": ["https://example.org/a.png"],
        "picture": [{"image": "none.png"}], "picture_url": [{"image": "https://example.org/a.png"}], "picture_number": [{"image": 3}],
        "two_keys": [{"image": "a", "text": "b"}], "other_key": [{"video": "a"}], "mixed": [["a"], "b"], "mixed_late": ["a", ["b"]],
        "object": {"text": "a"}, "empty": [], "number": 7, "directory": [{"image": "."}], "zero_byte": [{"image": "a\0b"}],
        "no_name": [{"image": ""}],
    }.items():
        put("prompt_file", name, json.dumps(value))
    user = lambda content: [{"role": "user", "content": content}]
    pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
    for name, value in {
        "messages": {"messages": user([{"type": "image", "base64": pixel}, {"type": "text", "text": "what?"}])}, "conversation": user("hello"),
        "openai": user([{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64," + pixel}}]),
        "conversations": [user("a"), {"messages": user("b")}], "message_without_role": [{"role": 7, "content": []}], "part_twice": user([{"type": "image", "url": 1}]),
        "pairs": {"images": [pixel, pixel], "text": ["a", "b"]}, "pairs_nested": {"images": [[pixel], []], "text": ["a", "b"]}, "pairs_uneven": {"images": [], "text": "a"},
        "base64_lines": [{"image": pixel[:40] + "\n" + pixel[40:]}], "markdown": ['a ![](http://a/b "t") and ![](data:,x)'],
    }.items():
        put("prompt_file", name, json.dumps(value))
    put("prompt_file", "not_json", "not json")
    put("prompt_file", "duplicate", '[{"text":"a","text":"b"}]')


def varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def piece(text: bytes, kind: int, score: float = 0.0) -> bytes:
    return field(1, field(1, text) + varint(2 << 3 | 5) + struct.pack("<f", score) + field(3, kind))


def sentencepiece() -> None:
    special = piece(b"<unk>", 2) + piece(b"<s>", 3) + piece(b"</s>", 3)
    letters = piece("▁".encode(), 1, -1) + piece(b"a", 1, -2)
    byte_pieces = b"".join(piece(b"<0x%02X>" % i, 6) for i in range(256))
    bpe, identity = field(2, field(3, 2)), field(3, field(1, b"identity") + field(3, 1) + field(4, 0))
    fallback = field(2, field(3, 2) + field(35, 1))
    for name, content in {
        "small": special + letters + bpe + identity, "with_bytes": special + byte_pieces + fallback + identity, "empty": b"",
        "unigram": special + letters + field(2, field(3, 1)), "no_unknown": letters + bpe, "two_unknown": special + special + bpe,
        "same_piece_twice": special + letters + letters + bpe, "empty_piece": special + piece(b"", 1) + bpe,
        "zero_byte_in_piece": special + piece(b"a\0b", 1) + bpe, "piece_of_5000": special + piece(b"x" * 5000, 1) + bpe,
        "byte_minus_1": special + piece(b"<0x-1>", 6) + fallback, "byte_lower_case": special + piece(b"<0xab>", 6) + fallback,
        "bytes_missing": special + byte_pieces[:-20] + fallback, "byte_without_fallback": special + piece(b"<0x00>", 6) + bpe,
        "charsmap": special + bpe + field(3, field(2, b"\1\2\3\4")), "extra_whitespace": special + bpe + field(3, field(4, 1)),
        "score_nan": special + piece(b"a", 1, float("nan")) + bpe, "score_infinite": special + piece(b"a", 1, float("inf")) + bpe,
        "type_0": special + piece(b"a", 0) + bpe, "type_7": special + piece(b"a", 7) + bpe,
        "length_behind_end": special + b"\x0a\xff\xff\xff\xff\x0f", "varint_too_long": b"\x80" * 11, "group": b"\x0b\x0c",
        "unknown_fields": field(99, 7) + field(98, b"xyz") + special + letters + bpe + identity,
        "empty_pieces": b"\x0a\x00" * 200, "wire_types": special + field(1, field(1, 7) + field(2, b"")) + bpe,
    }.items():
        put("sentencepiece_model", name, content)


def tokenizer() -> None:
    vocab = ["<unk>", "<s>", "</s>", "▁", "a", "b", "▁a", "ab"]
    base = {
        "added_tokens": [{"id": i, "content": t, "special": True, "normalized": False, "lstrip": False, "rstrip": False,
                          "single_word": False} for i, t in enumerate(["<unk>", "<s>", "</s>"])],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "pre_tokenizer": None,
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": False,
                  "vocab": {t: i for i, t in enumerate(vocab)}, "merges": ["▁ a", "a b"]}}
    image = {"id": 8, "content": "<image>", "special": True, "normalized": False, "rstrip": True}

    def changed(**model):
        return {**base, "model": {**base["model"], **model}}

    def files(*parts):
        return "\0".join(p if isinstance(p, str) else json.dumps(p, ensure_ascii=False) for p in parts)

    config = {"add_bos_token": True, "padding_side": "left", "model_max_length": 10**30, "added_tokens_decoder": {
        "0": {"content": "<unk>"}, "1": {"content": "<s>"}, "2": {"content": "</s>"}, "6": {"content": "<image>"}}}
    for name, content in {
        "json": files(base), "json_image": files({**base, "added_tokens": base["added_tokens"] + [image]}, config),
        "model": files("", config), "model_alone": "", "special_map": files("", "", {"bos_token": "<s>", "additional_special_tokens": ["<image>", "<image>"]}),
        "added": files("", "", "", {"<image>": 6}), "added_list": files("", "", "", ["<image>"]), "added_far": files("", "", "", {"<image>": 60000, "<b>": 120000, "<c>": 180000}),
        "added_negative": files("", "", "", {"<image>": -1}), "added_normalized": files("", {"added_tokens_decoder": {"6": {"content": "x", "normalized": True}}}),
        "decoder_key": files("", {"added_tokens_decoder": {"0x6": {"content": "x"}}}), "bos_unknown": files("", {"bos_token": "<nobody>"}),
        "ids_wrong": files(changed(vocab={"<unk>": 0, "a": 7})), "ids_twice": files(changed(vocab={"<unk>": 0, "a": 1, "b": 1})),
        "merge_wrong": files(changed(merges=[["a"], "b"])), "merge_pairs": files(changed(merges=[["▁", "a"], ["a", "b"]])),
        "wordpiece": files(changed(type="WordPiece")), "dropout": files(changed(dropout=0.1)), "fallback_without_bytes": files(changed(byte_fallback=True)),
        "pre_tokenizer": files({**base, "pre_tokenizer": {"type": "Metaspace"}}), "no_normalizer": files({**base, "normalizer": None}),
        "piece_of_5000": files(changed(vocab={"<unk>": 0, "<s>": 1, "</s>": 2, "x" * 5000: 3})), "null": files("null", "null", "null", "null"),
        "steps": files({**base, "normalizer": {"type": "Sequence", "normalizers": [{"type": "Strip", "strip_left": True, "strip_right": False},
                        {"type": "Prepend", "prepend": "a "}, {"type": "Replace", "pattern": {"String": "a"}, "content": "bb"}]},
                        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": True}, "decoder": None}),
        "decoder": files({**base, "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Metaspace", "replacement": "▁"},
                          {"type": "Fuse"}, {"type": "Strip", "content": "b", "start": 1, "stop": 2}]}}),
        "single_word": files({**base, "added_tokens": [*base["added_tokens"], {"id": 8, "content": "a", "special": False, "normalized": True,
                                                                                 "lstrip": True, "rstrip": True, "single_word": True}]}, "", "", "", "", "a ab  a▁a"),
        "converted": files(base, {"add_prefix_space": False, "legacy": False, "add_eos_token": True, "clean_up_tokenization_spaces": True}, "", "", "", "a 've . ' b"),
        "specials": files(base, {"bos_token": {"__type": "AddedToken", "content": "a", "lstrip": True}, "additional_special_tokens": ["b", {"content": "x"}],
                                  "extra_special_tokens": {"image_token": "<image>"}, "chat_template": [{"name": "x", "template": "y"}]}),
        "older_files": files(base, {"legacy": None}, {"bos_token": {"content": "b", "rstrip": True}, "additional_special_tokens": ["<z>"]}, {"<image>": 8}, "{{ 1 }}\r\n"),
        "unknown_characters": files(changed(unk_token=None, fuse_unk=False, ignore_merges=True), "", "", "", "", "éa日ab"),
    }.items():
        put("tokenizer", name, content)


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    out = b"\x89PNG\r\n\x1a\n"
    for kind, body in chunks:
        out += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return out


def pictures() -> None:
    def ramp(mode, size=(7, 5)):
        rgb = Image.new("RGBA", size)
        rgb.putdata([(x * 36, y * 50, (x + y) * 20, 255 - x * 30) for y in range(size[1]) for x in range(size[0])])
        return rgb.convert("RGB").convert(mode) if mode not in ("RGBA", "LA") else rgb.convert(mode)

    def save(name, mode, kind, size=(7, 5), **options):
        out = io.BytesIO()
        ramp(mode, size).save(out, kind, **options)
        put("image", name, out.getvalue())
        return out.getvalue()

    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        whole = save(f"png_{mode.lower()}", mode, "PNG")
    put("image", "png_cut", whole[:-20])
    put("image", "png_bad_checksum", whole[:-5] + b"\0" * 5)
    save("png_trns", "P", "PNG", transparency=3)
    for layout in range(3):
        save(f"jpeg_{layout}", "RGB", "JPEG", (17, 9), subsampling=layout)
    whole = save("jpeg_progressive", "RGB", "JPEG", (17, 9), progressive=True)
    put("image", "jpeg_cut", whole[: len(whole) // 2])
    save("jpeg_grey", "L", "JPEG")
    save("jpeg_cmyk", "CMYK", "JPEG")
    whole = save("gif", "P", "GIF")
    put("image", "gif_cut", whole[:-6])
    save("gif_trns", "P", "GIF", transparency=1)
    for mode in ("1", "L", "P", "RGB"):
        whole = save(f"bmp_{mode.lower()}", mode, "BMP")
    put("image", "bmp_cut", whole[:-10])
    save("webp", "RGB", "WEBP")
    whole = save("webp_lossless", "RGBA", "WEBP", lossless=True)
    put("image", "webp_cut", whole[:-10])

    header = lambda w, h, depth=8, kind=2: (b"IHDR", struct.pack(">IIBBBBB", w, h, depth, kind, 0, 0, 0))
    data, end = (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b"")
    put("image", "png_bomb", png(header(1 << 30, 1 << 30), data, end))
    put("image", "png_no_pixels", png(header(0, 4), data, end))
    put("image", "png_empty_data", png(header(2, 2), (b"IDAT", b""), data, end))
    put("image", "png_no_data", png(header(2, 2), end))
    put("image", "png_two_headers", png(header(2, 2), header(4, 4), data, end))
    put("image", "png_claims_1GiB", png(header(2, 2)) + struct.pack(">I", 1 << 30) + b"IDAT")
    put("image", "png_depth_16", png(header(2, 2, 16, 0), data, end))
    put("image", "png_palette_missing", png(header(2, 2, 8, 3), data, end))
    put("image", "png_interlaced", png((b"IHDR", struct.pack(">IIBBBBB", 5, 5, 8, 2, 0, 0, 1)), data, end))
    put("image", "gif_bomb", b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\0\0\0")
    put("image", "gif_frame_outside", b"GIF89a" + struct.pack("<HHBBB", 2, 2, 0x80, 0, 0) + bytes(6) +
        b"," + struct.pack("<HHHHB", 1, 1, 60000, 60000, 0) + b"\x02\x02\x4c\x01\x00;")
    put("image", "bmp_bomb", b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 1 << 30, -(1 << 31), 1, 24, 0, 0, 0, 0, 0, 0))
    put("image", "bmp_palette_behind_end", b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 1 << 31, 40, 4, 4, 1, 8, 0, 0, 0, 0, 0, 0))
    colours = b"".join(bytes((i * 9 & 255, i * 5 & 255, i, 0)) for i in range(16))
    bmp = lambda bits, compression, body, extra=b"", w=6, h=3: b"BM" + struct.pack(
        "<IIIIiiHHIIiiII", 0, 0, 54 + len(extra), 40, w, h, 1, bits, compression, len(body), 0, 0, len(extra) // 4, 0) + extra + body
    put("image", "bmp_rle8", bmp(8, 1, b"\6\3\0\0\2\1\0\3\4\5\6\0\0\0\0\2\0\0\1\0\5\7\0\1", colours))
    put("image", "bmp_rle8_far_jumps", bmp(8, 1, b"\0\2\0\0\377\377" * 20, colours, w=4000, h=16))
    put("image", "bmp_rle8_cut", bmp(8, 1, b"\6\3\0\0\0\377\1\2", colours))
    put("image", "bmp_rle4", bmp(4, 2, b"\6\x21\0\0\0\6\x12\x34\x56\0\0\0\6\x77\0\1", colours))
    put("image", "bmp_565", bmp(16, 3, bytes(range(36)), struct.pack("<III", 0xF800, 0x7E0, 0x1F)))
    put("image", "bmp_unusual_masks", bmp(32, 3, bytes(72), struct.pack("<III", 0x3FF, 0xFFC00, 0xFFF00000)))
    put("image", "bmp_colours_behind_end", bmp(8, 0, b"", colours)[:60])
    gif = lambda flags, codes, w=4, h=9: b"GIF89a" + struct.pack("<HHBBB", w, h, 0x81, 0, 0) + bytes(range(12)) + b"," + struct.pack(
        "<HHHHB", 0, 0, w, h, flags) + codes + b"\0;"
    put("image", "gif_interlaced", gif(0x40, b"\2\x16\x8c\x2d\x99\x87\x2a\x1c\xdc\x33\xa0\x02\x75\xec\x95\xfa\xa8\xde\x60\x8c\x04\x91\x4c\x01"))
    put("image", "gif_codes_ahead", gif(0, b"\2\4\x84\xff\xff\xff"))
    put("image", "gif_codes_too_wide", gif(0, b"\x0c\2\x84\x51"))
    put("image", "gif_codes_of_0_bits", gif(0, b"\0\2\x84\x51"))
    put("image", "webp_claims", b"RIFF" + struct.pack("<I", 1 << 30) + b"WEBPVP8L" + struct.pack("<I", 1 << 30) + b"\x2f\xff\xff\xff\xff")
    put("image", "empty", b"")
    put("image", "text", b"not a picture")
    put("image", "git_lfs", b"version https://git-lfs.github.com/spec/v1\n")


def utf8() -> None:
    put("utf8", "valid", "aé▁😀\U0010ffff\ud7ff\ue000".encode("utf-8", "surrogatepass"))
    for name, content in {"overlong": b"\xc0\xaf\xe0\x80\xaf\xf0\x80\x80\xaf", "surrogate": b"a\xed\xa0\x80", "above": b"\xf4\x90\x80\x80",
                          "cut": b"\xe2\x96", "lone": b"\x80", "five": b"\xf8\x88\x80\x80\x80", "zero": b"a\0b", "empty": b""}.items():
        put("utf8", name, content)


def data_urls() -> None:
    for name, text in {
        "base64": "data:image/png;base64,aGVsbG8=", "url_alphabet": "data:;base64,-_-_", "percent": "data:,a%20b%ff", "empty": "data:,",
        "no_comma": "data:image/png;base64", "cut_percent": "data:,a%2", "wrong_percent": "data:,%zz", "one_digit": "data:;base64,a",
        "wrong_padding": "data:;base64,ab=", "padding_within": "data:;base64,ab==ab==", "escaped_plus": "data:;base64,%2B%2F%3D%3D",
        "other": "https://example.org/",
    }.items():
        put("data_url", name, text)
    for name, text in {
        "upper_case": "DATA:IMAGE/PNG;BASE64,aGVsbG8=", "lines": "data:;base64,aGVs\r\n bG8=\n", "spaces": "data:;charset=x; base64 ,aGVsbG8=",
        "escaped_line": "data:;base64,aGVs%0D%0AbG8=",
    }.items():
        put("data_url", name, text)


def urls() -> None:
    for name, text in {
        "plain": "https://example.org/a.png", "secrets": "http://user:pass@example.org:8080/a?token=x#y", "ipv6": "http://[::1]:80/",
        "octal": "http://0177.0.0.1/", "decimal": "http://2130706433/", "circled": "http://\u2460\u2461\u2466.0.0.1/",
        "slash_in_password": "http://user:12/3@example.org/", "two_at": "http://a@b@example.org/", "backslash": "http://a\\@b/",
        "escaped_host": "http://%31%32%37.0.0.1/", "tab": "ht\ttp://example.org/", "file": "file:///etc/passwd", "no_host": "http://",
        "upper_case": "HTTP://EXAMPLE.ORG/", "data": "data:,x", "zero": "http://a\0b/", "zone": "http://[fe80::1%25lo]/", "empty": "",
    }.items():
        put("url", name, text)
    for name, text in {
        "domain": ".example.orgwww.example.org", "network": "10.0.0.0/810.1.2.3", "ipv6": "[::1]::1", "star": "*a", "list": "a, b\tc.d.x.c.d.",
        "bits": "1.2.3.4/991.2.3.4", "empty": "", "mapped": b"\0" * 10 + b"\xff\xff\x7f\0\0\1", "nat64": b"\0\x64\xff\x9b" + b"\0" * 8 + b"\xa9\xfe\xa9\xfe",
        "6to4": b"\x20\x02\x0a\0\0\1" + b"\0" * 10, "public": b"\x26\x06\x47\0" + b"\0" * 11 + b"\1",
    }.items():
        put("address", name, text)


def hub() -> None:
    git, sha = "a" * 40, "b" * 64
    file = {"type": "file", "path": "config.json", "size": 3, "oid": git}
    lfs = {**file, "path": "model.safetensors", "lfs": {"oid": sha, "size": 9, "pointerSize": 134}}
    for name, entries in {
        "two_files": [{"type": "directory", "path": "docs"}, file, lfs], "empty": [], "object": {}, "number": [3],
        "parent": [{**file, "path": "../config.json"}], "absolute": [{**file, "path": "/etc/x"}],
        "control": [{**file, "path": "a\nb"}], "negative": [{**file, "size": -1}], "no_size": [{**file, "size": None}],
        "above_63_bits": [{**file, "size": 2 ** 63}], "path_as_hash": [{**file, "oid": "../../x"}],
        "lfs_number": [{**file, "lfs": 3}], "prefixed": [{**lfs, "lfs": {"oid": "sha256:" + sha, "size": 9}}],
    }.items():
        put("hub", name, json.dumps(entries))
    put("hub", "head", 'HTTP/1.1 206\r\nETag: W/"x"\r\nContent-Range: bytes 5-9/10\r\nRetry-After: 3\r\n'
        'Link: <http://localhost/2>; rel="next"\r\nX-Linked-Etag: "y"\r\nContent-Length: 99999999999999999999\r\n')
    put("hub", "open_link", 'Link: <rel="next"\r\nETag: "\r\nContent-Range: bytes */\r\n:\r\n')


def serve_requests() -> None:
    pixel = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
    user = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": pixel, "detail": "low"}}, {"type": "text", "text": "what?"}]}
    everything = {"model": "m", "n": 2, "stop": ["a", "b"], "seed": 1, "temperature": 0.5, "top_p": 0.9, "max_completion_tokens": 3, "stream": True,
                  "stream_options": {"include_usage": True}, "logit_bias": {"5": -100}, "frequency_penalty": 1, "user": "u", "metadata": {"a": "b"}}
    for name, value in {
        "chat": {"messages": [user]}, "text": {"messages": [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]},
        "options": {"messages": [user], "logprobs": True, "top_logprobs": 3, **everything}, "zero": {"messages": [user], "temperature": 0, "num_beams": 3},
        "path": {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "/etc/passwd"}]}]},
        "nested_url": {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": {"url": {"url": pixel}}}}]}]},
        "unknown": {"messages": [user], "temprature": 1}, "tools": {"messages": [user], "tools": [{}], "tool_choice": "auto"},
        "twice": {"messages": [user], "max_tokens": 1, "max_new_tokens": 2}, "format": {"messages": [user], "response_format": {"type": "json_object"}},
        "prompt": {"prompt": "a", "echo": True, "best_of": 2, **everything}, "prompts": {"prompt": ["a", "b"], "logprobs": 2},
        "interleaved": {"prompt": ["a", {"image": pixel}, "https://example.org/a.png", {"text": "b"}]}, "batch": {"prompt": [["a"], [{"image_url": pixel}]]},
        "ids": {"prompt": [1, 2]}, "mixed": {"prompt": [["a"], "b"]}, "empty_stop": {"prompt": "a", "stop": ""}, "bias_text": {"prompt": "a", "logit_bias": {"x": 1}},
        "bias_both": {"prompt": "a", "logit_bias": {"1": 2}, "sequence_bias": [[[1, 2], 3]]}, "bias_object": {"prompt": "a", "logit_bias": {"1": 2}, "sequence_bias": {}},
        "classify": {"image": [pixel, pixel], "labels": ["a", "b"], "rank": True, "normalize": False}, "embed": {"input": pixel, "pooling": "none", "encoding_format": "base64"},
        "dimensions": {"input": [pixel], "dimensions": 8}, "list": [], "null": None, "nothing": {}, "nulls": {"messages": None, "prompt": None},
    }.items():
        put("serve_request", name, json.dumps(value))
    put("serve_request", "quoted_commas", '{"prompt":"' + ',[{\\\"' * 50 + '"}')
    put("serve_request", "stop", "aab\naaaabaab")


for write in (data_urls, urls, hub, serve_requests, safetensors, quant_states, adapters, texts, configs, sentencepiece, tokenizer, pictures, utf8):
    write()
torch_files(put)
for name, template in template_files().items():
    put("chat_template", name, template)
