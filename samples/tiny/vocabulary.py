"""The vocabulary: a SentencePiece model of the prompts, and the tokenizer and processor files."""

import io
import json
import random
from pathlib import Path

import sentencepiece
from transformers import IdeficsImageProcessor, IdeficsProcessor, LlamaTokenizerFast

from pool import IMAGE_SIZE
from talk import END, SAY, lesson
from world import sample_scene

VOCABULARY = 640
ADDED = ("<fake_token_around_image>", "<image>", "<end_of_utterance>")
# A little plain English, so that words from outside this world are not split into single letters.
ENGLISH = """The quick brown fox jumps over the lazy dog. This is a photo of people in the street of a city. What are they
doing and where are they going? Describe the picture in detail, please. Write a short story about the animals in the garden.
Who is that? When was this building built? A kitten is playing with a ball on the grass in front of the house. Yes, I think
that it could be true, but I do not know which one it would be. How are you today? Thank you very much for your question."""


def corpus(prompts=6000, seed=1):
    """The texts of training prompts, with some English and every printable ASCII character."""
    rng = random.Random(seed)
    for number in range(prompts):
        text = lesson(lambda rng, alone: sample_scene(number, 1 if alone else None), rng)[0]
        # "/" in place of newlines: as after a newline, the next word has no space before it.
        text = text.replace(SAY, "").replace(END, "").replace("\n", "/")
        for token in (*ADDED, "</s>"):
            text = text.replace(token, "\n")
        yield from (part for part in text.split("\n") if part)
    for sentence in ENGLISH.replace("\n", " ").split(". ") * 40:
        yield sentence
    yield from (" ".join(map(chr, range(33, 127))),) * 20


def train_sentencepiece(path):
    """A model like LLaMA's: BPE with byte fallback, no normalization, a space prepended."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=corpus(), model_writer=written, model_type="bpe", vocab_size=VOCABULARY, byte_fallback=True,
        character_coverage=1.0, split_digits=True, allow_whitespace_only_pieces=True, add_dummy_prefix=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, unk_id=0, bos_id=1, eos_id=2, pad_id=-1,
        num_threads=1, minloglevel=2)
    Path(path).write_bytes(written.getvalue())


def save_processor(folder):
    """Writes all files except the model's, in the layout of the published checkpoints."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    train_sentencepiece(folder / "tokenizer.model")
    tokenizer = LlamaTokenizerFast(vocab_file=str(folder / "tokenizer.model"), legacy=True, unk_token="<unk>", bos_token="<s>",
                                   eos_token="</s>", pad_token="<unk>", padding_side="left", model_max_length=512,
                                   clean_up_tokenization_spaces=False, add_prefix_space=True)
    tokenizer.add_special_tokens({"additional_special_tokens": list(ADDED)})
    IdeficsProcessor(IdeficsImageProcessor(image_size=IMAGE_SIZE), tokenizer).save_pretrained(folder)
    _settle(folder)
    return tokenizer


def _settle(folder):
    """Removes what only this version of transformers writes.

    `add_prefix_space: null` would even change the tokens.
    """
    (folder / "added_tokens.json").unlink(missing_ok=True)
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    for key in ("add_prefix_space", "extra_special_tokens"):
        settings.pop(key, None)
    path.write_text(json.dumps(settings, indent=2) + "\n")
