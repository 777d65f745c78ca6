"""Strings for tokenizers: explicit ones, and a generator that any language can reproduce."""

from common import SplitMix64

ADDED = ["<fake_token_around_image>", "<image>", "<end_of_utterance>", "<s>", "</s>", "<unk>"]

RANGES = [
    (0x20, 0x7E), (0x20, 0x7E), (0x61, 0x7A), (0x30, 0x39), (0x00, 0x1F), (0x7F, 0xA0), (0xA0, 0xFF), (0x100, 0x24F),
    (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x4FF), (0x590, 0x5FF), (0x600, 0x6FF), (0x900, 0x97F), (0xE00, 0xE7F),
    (0x1100, 0x11FF), (0x2000, 0x206F), (0x2190, 0x21FF), (0x2500, 0x259F), (0x3000, 0x30FF), (0x4E00, 0x9FFF),
    (0xAC00, 0xD7A3), (0xE000, 0xE0FF), (0xFE00, 0xFE0F), (0xFFF0, 0xFFFF), (0x1F300, 0x1F6FF), (0x1F900, 0x1F9FF),
    (0x10000, 0x100FF), (0xE0000, 0xE007F), (0x10FFF0, 0x10FFFF),
]

FRAGMENTS = ADDED + [
    " ", " ", "  ", "   ", "    ", "        ", "                ", "\n", "\n\n", "\t", "\r\n", "\u0000", "\u2581", "\u2581\u2581",
    " \u2581", "\u00a0", "\u3000", "\ufeff", "\u200b", "\u200d", "\ufe0f", "\ufffd",
    "<", ">", "<imag", "image>", "<image", "<fake_token_around_image", "fake_token", "_image>", "<end_of_utterance", "</s", "s>",
    "<s", "<0x0A>", "<0x00>", "<0xE2>", "<unk", " <image>", "<image> ", "<IMAGE>", "\u2581<s>",
    "the", " the", " The", "cat", " picture", "Describe this image.", "User:", "\nAssistant:", " a red house", "hello", " world",
    "don't", "1234567890", " 3.14", "http://", "e\u0301", "\u00e9", "\u00df", "\u0416\u0443\u043a", "\u732b", "\u3042", "\ud55c",
    "\U0001F600", "\U0001F468\u200d\U0001F469\u200d\U0001F467", "\U0001F1EB\U0001F1F7", "\u0e20\u0e32", "\u0915\u094d\u0937", "\u0644\u0627",
]

MAX_PIECES = 24


def generated(seed, index):
    """String number `index` of `seed`; tests/golden/tokenizer_strings.cpp generates the same."""
    random = SplitMix64.of(seed, index)
    pieces = []
    for _ in range(random.below(MAX_PIECES)):
        choice = random.next()
        if choice & 1:
            low, high = RANGES[(choice >> 8) % len(RANGES)]
            pieces.append(chr(low + random.below(high - low + 1)))
        else:
            pieces.append(FRAGMENTS[(choice >> 8) % len(FRAGMENTS)])
    return "".join(pieces)


def explicit():
    """About 400 strings, each aimed at one rule; duplicates removed, order kept."""
    return list(dict.fromkeys(plain() + spaces() + added_tokens() + odd_characters() + prose()))


def plain():
    return ["", "a", "A", "cat", " cat", "cat ", "hello world", "Hello, world!", "The cat sits.", "xyzzy", "qqqq", "0", "007", "3.14159",
            "1,000,000", "don't", "it's", "e-mail", "a_b_c", "CamelCaseWord", "ALLCAPS", "aaaaaaaaaaaaaaaaaaaaaaaa", "abababababababab",
            "the the the", "thethethe", "User:", "Assistant:", "User: Describe this image.\nAssistant:", *(chr(c) for c in range(33, 127))]


def spaces():
    runs = [" " * n for n in (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 64, 100)]
    around = [f"{run}a{run}" for run in runs[:8]] + [f"a{run}b" for run in runs] + [f"{run}the cat" for run in runs[:10]]
    kinds = ["\t", "\n", "\r", "\r\n", "\x0b", "\x0c", "\u0085", "\u00a0", "\u1680", "\u2002", "\u2003", "\u2009", "\u200a", "\u2028", "\u2029",
             "\u202f", "\u205f", "\u3000", "\u200b", "\u2060", "\ufeff"]
    mixed = [f"a{k}b" for k in kinds] + [f"{k}a" for k in kinds] + [f" {k} " for k in kinds] + ["\n\n\n", " \n \n ", "\t\t\tx", "a \n b"]
    return runs + around + mixed


def added_tokens():
    lone = ADDED + [f" {t}" for t in ADDED] + [f"{t} " for t in ADDED] + [f"a{t}b" for t in ADDED] + [f"a {t} b" for t in ADDED]
    pairs = [x + y for x in ADDED for y in ADDED] + [f"{x} {ADDED[1]}  {x}" for x in ADDED]
    partial = ["<imag", "<image", "image>", "<<image>>", "<<image>", "<image>>", "<image><imag", "< image>", "<image >", "<Image>", "<IMAGE>",
               "<fake_token_around_image", "<fake_token_around_image><image", "<fake_token_<image>", "<fake_token_around_<image>image>",
               "<end_of_<image>utterance>", "<end_of_utterance", "</s", "<s", "s>", "<s></s><unk>", "</s><s>", "<pad>", "<unk", "<s >"]
    known = ["<s>User:<fake_token_around_image><image><fake_token_around_image>Describe this image.\nAssistant:",
             "<s><fake_token_around_image><image><image><fake_token_around_image>", "<image>\u2581", "\u2581<image>", "<image>\n<image>",
             "<s>a<end_of_utterance>b<end_of_utterance>\nAssistant:", "a</s>b", "<s> <s>  <s>", "<image>\u0000<image>"]
    return lone + pairs + partial + known


def odd_characters():
    controls = [chr(c) for c in range(0x20)] + ["\x7f", "\x80", "\x9f"]
    marks = ["\u2581", "\u2581\u2581", "\u2581a", "a\u2581b", " \u2581 ", "\u2581 \u2581", "a \u2581b", "\u2581the", "\u2581\u2581the", "\u2047", "\ufffd"]
    bytes_typed = ["<0x0A>", "<0x00>", "<0xFF>", "<0xE2><0x96><0x81>", "a<0x41>b", "<0x0a>", "\\n", "\\x00", "\\u2581"]
    edges = ["\u007f", "\u0080", "\u07ff", "\u0800", "\ud7ff", "\ue000", "\uffff", "\ufffe", "\U00010000", "\U0010ffff", "\U000e0001"]
    emoji = ["\U0001F600", "\U0001F44D\U0001F3FD", "\U0001F468\u200d\U0001F469\u200d\U0001F467", "\u2764\ufe0f", "\U0001F1EB\U0001F1F7", "1\ufe0f\u20e3",
             "a\U0001F600b", " \U0001F600 ", "\U0001F600\U0001F600\U0001F600"]
    composed = ["\u00e9", "e\u0301", "\u00c5", "A\u030a", "\u212b", "\ufb01", "\uff21", "\u2460", "\u1e9e", "\u0130", "\u01c5", "q\u0307\u0323", "\u0301"]
    return controls + marks + bytes_typed + edges + emoji + composed + ["a\u0000b", "\u0000\u0000", "a\x1fb", "\u200fa\u200e"]


def prose():
    return ["Ein schöner Vogel über der Straße.", "Une forêt où ça va, naïve.", "¿Dónde está el niño? ¡Mañana!", "Маленькая собака бежит.",
            "Съешь ещё этих мягких французских булок", "Μια γάτα κοιτάζει τη θάλασσα.", "一只小猫坐在桌子上。", "龍鱻麤", "小さな犬が走る。", "ｶﾀｶﾅ",
            "작은 개가 달린다.", "뷁", "كلب صغير يجري", "كَلْب", "כלב קטן", "שָׁלוֹם", "एक छोटा कुत्ता", "क्षत्रिय", "สุนัขตัวเล็ก", "ភាសាខ្មែរ", "தமிழ்", "አማርኛ",
            "ᚠᛇᚻ", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "𓀀𓁐", "Żółta łódź", "ığdır İSTANBUL", "int main() {\n    return 0;\n}\n", "\tfor x in y:\n\t\tpass",
            '{"a": [1, 2, {"b": null}]}', "http://example.org/a_b.png?x=1&y=2#top", "C:\\path\\to\\file.txt", "x² + y³ = ½ ≤ ∞ ∑", "— “quoted” ‘text’ …",
            "日本語とEnglishとРусский mixed 123", "a\tb\u00a0c\u3000d", "word " * 40, "猫" * 30, "🙂 " * 20, "The cat \u2581sits\u2581 here."]
