"""Records what Python's re.fullmatch says of some expressions and texts.

    python tests/reference/make_regular_expressions.py   # writes tests/golden/data/regular_expressions.json
"""

import json
import pathlib
import platform
import re

EXPRESSIONS = [
    "", "a", "abc", "a|b|", "(a|b)c", "(?:ab)+", "a*", "a+?b", "a?b?c?", "a{3}", "a{2,}", "a{1,3}b", "(a{2}){2}",
    ".", ".*", "a.c", "[abc]", "[a-c]+", "[^a-c]+", "[]a]+", "[^]a]+", "[a-]+", "[-a]+", r"[\]\[]+", r"\d+", r"\w+",
    r"\W+", r"\s*", r"\S+", r"\D", r"[\d.]+", r"[^\W\d]+", r"[^\s]+", r"-?\d+(\.\d+)?", r"\(\w+\)", r"\.",
    r"(\d{3}-){1,2}\d{4}", "^a$", "^a|b$", "é+", "[éa]+", "[^a]", "日本?", r"\n", r"[\b]", r"a\|b", "(yes|no)( (yes|no))*",
]
TEXTS = [
    "", "a", "b", "c", "ab", "abc", "aaa", "aaaa", "abab", "aab", "bc", "a|b", "a-c", "a.c", "1", "12.5", "-3", "x1", "_",
    " ", "a b", "(foo)", "555-1234", "555-555-1234", "é", "éé", "aé", "日", "日本", "\n", "\b", "]", "]a]", "[]", ".", "yes",
    "yes no yes", "😀", "a😀c", "\\",
]

# ASCII as in the engine: \\w, \\d and \\s know no other letters, digits and spaces
recorded = [
    {"expression": e, "matches": [re.fullmatch(e, t, re.ASCII) is not None for t in TEXTS]} for e in EXPRESSIONS
]
out = pathlib.Path(__file__).parent.parent / "golden" / "data" / "regular_expressions.json"
out.write_text(json.dumps({"python": platform.python_version(), "texts": TEXTS, "expressions": recorded}) + "\n")
print(len(EXPRESSIONS) * len(TEXTS), "results")
