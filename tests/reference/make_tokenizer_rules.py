"""The characters that the reference counts as parts of words around an added token (single_word), and
those that it strips around one (lstrip, rstrip), read off its behaviour.

Prints the table of include/idefics/text/tokenizer/word_characters.hpp, and the white space of
text/utf8.hpp as a comment; writes nothing.
"""

from tokenizers import AddedToken, Tokenizer
from tokenizers.models import BPE

CHARACTERS = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def ranges(characters):
    found = []
    for code in map(ord, characters):
        if found and found[-1][1] == code - 1:
            found[-1][1] = code
        else:
            found.append([code, code])
    return found


def tokenizer(**flags):
    made = Tokenizer(BPE({"a": 0}, [], unk_token="a"))
    made.add_tokens([AddedToken("\x01t", normalized=False, **flags)])
    return made


def having(made, text, is_so):
    """The characters c for which is_so(ids of text(c), id of the token)."""
    token = made.token_to_id("\x01t")
    found = []
    for start in range(0, len(CHARACTERS), 65536):
        block = CHARACTERS[start:start + 65536]
        rows = made.encode_batch([text(c) for c in block], add_special_tokens=False)
        found += [c for c, row in zip(block, rows) if is_so(row.ids, token)]
    return found


def main():
    word = tokenizer(single_word=True)
    before, after = (having(word, text, lambda ids, token: token not in ids) for text in (lambda c: c + "\x01t", lambda c: "\x01t" + c))
    assert before == after
    line = "   "
    for first, last in ranges(before):
        entry = f" {{0x{first:x}, 0x{last:x}}},"
        if len(line + entry) > 100:
            print(line)
            line = "   "
        line += entry
    print(line)
    space = tokenizer(lstrip=True, rstrip=True)
    print("// white space:", *(f"{a:x}-{b:x}" for a, b in ranges(having(space, lambda c: c + "\x01t" + c, lambda ids, token: ids == [token]))))


if __name__ == "__main__":
    main()
