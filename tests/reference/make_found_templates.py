"""Records what jinja2 makes of templates that fuzzing found to reach code that no other reaches.

usage: make_found_templates.py [--out DIR] [--from FOLDER]

Writes found_templates.json: the sources, with the text or the error. They are those of the recording
itself and of FOLDER, where libFuzzer wrote what is new:

    idefics-fuzz --target=chat_template -merge=1 -use_counters=0 FOLDER KEPT_CORPUS
"""

import json
import signal
import sys
from pathlib import Path

from common import GOLDEN, REPOSITORY
from make_chat_templates import CONVERSATIONS, FixedClock, chat_template_utils, outcome
from transformers import LlamaTokenizerFast


def late(*_):
    raise TimeoutError


def recorded(tokenizer, source):
    """The outcome; none for what takes long or becomes long."""
    signal.alarm(2)
    try:
        result = outcome(tokenizer, source, CONVERSATIONS[1], True)
    except TimeoutError:
        return None
    finally:
        signal.alarm(0)
    return result if len(json.dumps(result)) <= 500 else None


def texts_in(folder):
    for path in sorted(folder.iterdir()):
        try:
            yield path.read_bytes().decode()
        except UnicodeDecodeError:
            pass


def main():
    options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
    chat_template_utils.datetime = FixedClock
    signal.signal(signal.SIGALRM, late)
    file = GOLDEN / "found_templates.json"
    sources = list(json.loads(file.read_text())) if file.exists() else []
    if "--from" in options:
        sources += [source for source in texts_in(Path(options["--from"])) if len(source) <= 400]
    tokenizer = LlamaTokenizerFast.from_pretrained(REPOSITORY / "samples" / "tiny")
    data = {source: recorded(tokenizer, source) for source in sources}
    data = {source: result for source, result in data.items() if result is not None}
    (Path(options.get("--out", GOLDEN)) / file.name).write_text(json.dumps(data, indent=0, ensure_ascii=False) + "\n")
    print(len(data), "templates")


if __name__ == "__main__":
    main()
