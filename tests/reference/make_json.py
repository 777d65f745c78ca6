"""JSON as Python's json reads it, and headers that safetensors accepts.

Writes tests/golden/data/json/python.json: texts, explicit and generated, with their values, type by
type, or null if json.loads refuses them; and json/safetensors.json: headers of safetensors files,
and whether safe_open accepts them.
"""

import json
import struct
import tempfile
from pathlib import Path

from common import SplitMix64, output_folder, versions, write_rows
from safetensors import safe_open

SEED = 20261
NUMBERS = ["NaN", "Infinity", "-Infinity", "1e9999", "-1e9999", "1E+400", "1e308", "1.7976931348623157e308", "1.7976931348623159e308", "2e308",
           "1e-9999", "-1e-400", "5e-324", "0e99999", "0.0e99999999999999999999", "1e99999999999999999999", "1e-99999999999999999999", "9" * 309, "-" + "9" * 400,
           "1" + "0" * 308, "1" + "0" * 309, "0." + "0" * 400 + "1", "0." + "0" * 400 + "1e800", "9" * 400 + "e-200", "1" * 299, "1" * 300, "1" * 301 + ".5",
           "18446744073709551615", "18446744073709551616", "-9223372036854775808", "-9223372036854775809", "-0", "-0.0", "0", "1.5", "1.e3", ".5", "+1", "01", "1e", "1e+",
           "--1", "-", "nan", "NAN", "inf", "infinity", "-NaN", "- Infinity", "+Infinity", "-infinity", "Infinityx", "NaNNaN", "NaN NaN", "1NaN", "NaN1", "InfinityNaN"]
UNITS = [r"\ud800", r"\udbff", r"\udc00", r"\udfff", r"\uD83D", r"\uDE00", r"\u0000", r"\u0041", r"\uffff", r"\ufffe", r"\udbff\udfff", r"\uDBFF\uDFFF", r"\ud83d\ude00",
         r"\u12", r"\uzzzz", r"\n", r"\\", r"\"", r"\x41", "\U0010ffff", "\uffff", "é", "日", "0000", "d800", "NaN", "Infinity", "a", "u", '"', "/", "1e9999"]
PIECES = ["{", "}", "[", "]", ",", ":", " ", "\n", '"a"', '"b":', '"":', "null", "true", "false", "NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1", "-2.5", "0e9",
          r'"\ud800"', r'"\udbff\udfff"', '"\U0010ffff"', '"NaN"', '"\\"', "tru", "'a'", "//", "\t", "\x0c", "\x00", "\x1f"]


def described(value):
    """The value with its types; text as code points, which can be surrogates."""
    if isinstance(value, str):
        return {"text": [ord(c) for c in value]}
    if isinstance(value, dict):
        return {"object": [[[ord(c) for c in key], described(v)] for key, v in value.items()]}
    if isinstance(value, list):
        return {"list": [described(v) for v in value]}
    if value is None or isinstance(value, bool):
        return {"word": json.dumps(value)}
    if isinstance(value, int):
        if -(2**63) <= value < 2**64:
            return {"integer": str(value)}
        value = float(str(value))  # integers above 64 bits are read as floats here
    return {"float": value.hex()}


def row_of(text):
    class Twice(Exception):
        pass

    def once(pairs):
        if len({key for key, _ in pairs}) < len(pairs):
            raise Twice
        return dict(pairs)

    try:
        return [text, described(json.loads(text, object_pairs_hook=once))]
    except (ValueError, RecursionError):
        return [text, None]
    except Twice:
        return [text, "twice"]


def generated_string(random):
    return '"' + "".join(random.pick(UNITS) for _ in range(1 + random.below(5))) + '"'


def generated_value(random, depth):
    kind = random.below(8 if depth < 4 else 5)
    if kind < 2:
        return random.pick(NUMBERS)
    if kind < 4:
        return generated_string(random)
    if kind == 4:
        return random.pick(["null", "true", "false"])
    size = random.below(4)
    if kind < 7:
        return "[" + ", ".join(generated_value(random, depth + 1) for _ in range(size)) + "]"
    return "{" + ",".join(f"{generated_string(random)}: {generated_value(random, depth + 1)}" for _ in range(size)) + "}"


def texts():
    yield from NUMBERS
    yield from (f"[{n}]" for n in NUMBERS)
    yield from (f'{{"a": {n} }}' for n in NUMBERS)
    yield from (f'{{{n}: "a"}}' for n in NUMBERS[:6])
    yield from (f'"{u}"' for u in UNITS)
    yield from (f'{{"{u}": 0}}' for u in UNITS)
    yield from (f'"{a}{b}"' for a in UNITS[:11] for b in UNITS[:11])
    yield from ["", " ", "{}", "{}x", "{} {}", "{}\x00", "{}\x00 garbage", "\x00{}", "[1]\x00]", '"\x00"', '"a\x00"', '{"a": 1}\x00 {"a": 2}', "[1,]", "[,1]", '{"a":1,}', '{"a"}', "[1 2]",
                "nulltrue", "// x\n1", "/* x */1", "\x0c1", "\u00a01", " \t\r\n1\r\n\t ", '"\x1f"', '"\x7f"', '"\n"', "'a'", "[NaN,-Infinity , Infinity]", '"unfinished', '"\\', '"\\u', '"\\ud8', '["\\ud800', "NaN\x00"]
    for index in range(1500):
        random = SplitMix64.of(SEED, index)
        if index % 3:
            yield generated_value(random, 0)
        else:
            yield "".join(random.pick(PIECES) for _ in range(1 + random.below(7)))


def headers():
    entry = '"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]%s}'
    whole = "{" + entry % "" + "}"
    for space in (" ", "\t", "\r", "\n", "\x0b", "\x0c", "\x00", "\u00a0", "\ufeff", " \t\r\n ", "x", "{}", ",", "}", "\x00{}", "]", "//"):
        yield from (space + whole, whole + space, space + whole + space)
    for value in ("1", "-1", "1.5", "null", "true", '"a"', "[]", "{}", '{"a":[1,{"b":null}]}', '[["a"],{}]', '{"dtype":"F16"}', '["shape",[2]]', "1e9999", "NaN", "nul", '"\\ud800x"', "01", ""):
        for field in ("extra", "", "Dtype", "data_offset"):
            yield "{" + entry % f',"{field}":{value}' + "}"
            yield f'{{"t":{{"{field}":{value},"dtype":"F32","{field}":{value},"shape":[1],"data_offsets":[0,4]}}}}'
    for depth in (1, 16, 100, 125, 126, 127, 128, 129, 200):
        yield "{" + entry % (',"extra":' + "[" * depth + "]" * depth) + "}"
        yield "{" + entry % (',"extra":' + '{"a":' * depth + "1" + "}" * depth) + "}"
    for about in ("null", "{}", '{"a":"b"}', '{"a":1}', '{"a":null}', '{"a":{}}', "[]", '"a"', "1", "true", 'null,"__metadata__":{"a":"b"}', '{"a":"b"},"__metadata__":null', 'null,"__metadata__":null'):
        yield f'{{"__metadata__":{about},{entry % ""}}}'
        yield f'{{{entry % ""},"__metadata__":{about}}}'
    yield from ("", " ", "{", "}", "null", "[]", '""', "1", '{"t":null}', '{"t":1}', '{"t":[]}', '{"t":{}}', '{"t":"F32"}')
    for shape, offsets in (("[1.0]", "[0,4]"), ("[-1]", "[0,4]"), ("null", "[0,4]"), ("[1]", "null"), ("[1]", "[0]"), ("[1]", "[0,4,4]"), ("[1,1]", "[0,4]"), ("[]", "[0,4]"), ("1", "[0,4]"), ("[[1]]", "[0,4]"), ("[1]", "[[0],4]"), ("[null]", "[0,4]")):
        yield f'{{"t":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}}}'


def accepts(header, path):
    blob = header.encode()
    path.write_bytes(struct.pack("<Q", len(blob)) + blob + bytes(4))
    try:
        with safe_open(path, "pt") as file:
            list(file.keys())
        return True
    except Exception as error:
        # an object for every entry is a rule of the format: Rust's reader would also take a list
        if "SafetensorError" not in type(error).__name__:
            raise
        return False


def main():
    folder = output_folder() / "json"
    head = {"versions": versions(), "seed": SEED}
    write_rows(folder / "python.json", head, "cases", [row_of(text) for text in dict.fromkeys(texts())])
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "t.safetensors"
        write_rows(folder / "safetensors.json", head, "cases", [[header, accepts(header, path)] for header in dict.fromkeys(headers())])


if __name__ == "__main__":
    main()
