"""A small tokenizer of LLaMA's kind, base and instruct, and the reference's ids and texts.

Writes tokenizer/{base,instruct}/, each with strings.jsonl and hashes.json, and
tokenizer/hashes_llama.json if IDEFICS_TEST_DATA names a folder with LLaMA's tokenizer.model.
"""

import io
import json
import os
import struct
import sys
import tempfile
from pathlib import Path

from common import fnv1a_many, hex64, output_folder, versions, write_json
from tokenizer_strings import ADDED, FRAGMENTS, MAX_PIECES, RANGES, explicit, generated
from training_text import training_lines

import sentencepiece
from transformers import AddedToken, LlamaTokenizerFast

TRAINING_SEED = 20231
STRINGS_SEED = 4571
COUNT, CHUNK = 200_000, 1_000
EXTRA = {"base": ADDED[:2], "instruct": ADDED[:3]}


def train(vocab_size):
    """A SentencePiece BPE model with LLaMA's settings; returns the bytes of tokenizer.model."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(list(training_lines(TRAINING_SEED, 12_000))), model_writer=model, model_type="bpe", vocab_size=vocab_size,
        byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=True, split_digits=True,
        allow_whitespace_only_pieces=True, character_coverage=0.9985, unk_id=0, bos_id=1, eos_id=2, pad_id=-1, num_threads=1,
        minloglevel=2, max_sentence_length=4192)
    return model.getvalue()


def wrap(model_path, extra):
    """The tokenizer as in the published repositories: legacy, with a `▁` prefix, added tokens
    special and not normalized."""
    tokenizer = LlamaTokenizerFast(vocab_file=str(model_path), legacy=True, add_prefix_space=True, add_bos_token=True, add_eos_token=False, pad_token="<unk>",
                                   padding_side="left", model_max_length=2048, clean_up_tokenization_spaces=False)
    tokens = [AddedToken(text, special=True, normalized=False) for text in extra]
    tokenizer.add_special_tokens({"additional_special_tokens": tokens})
    return tokenizer


def save(tokenizer, folder):
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    config.pop("add_prefix_space", None)  # published files lack the key, and the default is true
    write_json(path, config, indent=2)


def answers(tokenizer, texts):
    """For each text: its ids, the decoded text, and the decoded text without special tokens."""
    backend = tokenizer.backend_tokenizer
    ids = [e.ids for e in backend.encode_batch(texts, add_special_tokens=False)]
    kept = backend.decode_batch(ids, skip_special_tokens=False)
    skipped = backend.decode_batch(ids, skip_special_tokens=True)
    return ids, kept, skipped


def record_strings(tokenizer, path):
    texts = explicit()
    ids, kept, skipped = answers(tokenizer, texts)
    with path.open("w", encoding="utf-8") as file:
        for text, row, decoded, decoded_skip in zip(texts, ids, kept, skipped):
            assert tokenizer(text, add_special_tokens=False)["input_ids"] == row
            assert tokenizer.decode(row) == decoded and tokenizer.decode(row, skip_special_tokens=True) == decoded_skip
            case = {"text": text, "ids": row, "decoded": decoded, "decoded_skip": decoded_skip}
            file.write(json.dumps(case, separators=(",", ":")) + "\n")


def record_hashes(tokenizer, path):
    blobs = ([], [], [])
    for start in range(0, COUNT, CHUNK):
        texts = [generated(STRINGS_SEED, i) for i in range(start, start + CHUNK)]
        ids, kept, skipped = answers(tokenizer, texts)
        blobs[0].append(b"".join(struct.pack(f"<{len(row) + 1}i", *row, -1) for row in ids))
        blobs[1].append(b"".join(text.encode() + b"\xff" for text in kept))
        blobs[2].append(b"".join(text.encode() + b"\xff" for text in skipped))
    chunks = [[hex64(h) for h in row] for row in zip(*(fnv1a_many(b) for b in blobs))]
    head = {"versions": versions(), "seed": STRINGS_SEED, "count": COUNT, "chunk": CHUNK, "max_pieces": MAX_PIECES, "ranges": RANGES,
            "fragments": FRAGMENTS, "columns": ["ids", "decoded", "decoded_skip"]}
    rows = ",\n".join(json.dumps(row) for row in chunks)
    path.write_text(json.dumps(head)[:-1] + ',\n"chunks":[\n' + rows + "\n]}\n")


def record_llama(folder):
    model = Path(os.environ.get("IDEFICS_TEST_DATA", "/nonexistent")) / "llama-tokenizer.model"
    if not model.exists():
        print("IDEFICS_TEST_DATA holds no llama-tokenizer.model: hashes_llama.json is left as it is", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "tokenizer.model"
        path.write_bytes(model.read_bytes())
        record_hashes(wrap(path, EXTRA["base"]), folder / "hashes_llama.json")


def main():
    folder = output_folder() / "tokenizer"
    model = train(1400)
    for name, extra in EXTRA.items():
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "tokenizer.model"
            path.write_bytes(model)
            save(wrap(path, extra), folder / name)
        tokenizer = LlamaTokenizerFast.from_pretrained(folder / name)
        record_strings(tokenizer, folder / name / "strings.jsonl")
        record_hashes(tokenizer, folder / name / "hashes.json")
    record_llama(folder)


if __name__ == "__main__":
    main()
