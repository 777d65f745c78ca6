"""Texts that chat templates render: writes tests/golden/data/chat_templates.json.

The reference is what transformers' apply_chat_template calls, which sets jinja2 up; the clock is
fixed.
"""

import datetime
import json

from chat_template_expressions import EXPRESSIONS
from chat_template_forms import CONTENT, INVALID, UNSUPPORTED
from common import REPOSITORY, output_folder, versions
from jinja2 import TemplateError, TemplateSyntaxError
from transformers import LlamaTokenizerFast
from transformers.utils import chat_template_utils

NOW = datetime.datetime(2026, 3, 7, 9, 5, 2)
IMAGE = {"type": "image"}
TOOLS = [
    {"type": "function", "function": {"name": "weather", "description": "The weather at a place, \"now\" <or> later", "parameters": {
        "type": "object", "properties": {"place": {"type": "string", "description": "a town"}, "days": {"type": "integer"},
                                         "unit": {"type": "string", "enum": ["C", "F"]}, "hours": {"type": "array", "items": {"type": "number"}}},
        "required": ["place"]}}},
    {"type": "function", "function": {"name": "search", "description": "Sucht é", "parameters": {"type": "object", "properties": {"q": {"type": ["string", "null"]}}}}},
]


def text(words):
    return {"type": "text", "text": words}


def call(name, arguments, **more):
    return {"type": "function", "function": {"name": name, "arguments": arguments}, **more}


CONVERSATIONS = [
    {"messages": [{"role": "user", "content": "Hello!"}]},
    {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": " Hi\n"}, {"role": "assistant", "content": "<think>\nhm\n</think>\n\nHi."},
                  {"role": "user", "content": "  é ü 漢 {{ x }} {% y %} "}], "enable_thinking": False},
    {"messages": [{"role": "user", "content": [IMAGE, text("What is this?")]}]},
    {"messages": [{"role": "user", "content": [text("Compare: "), IMAGE, text(" and "), IMAGE]}, {"role": "assistant", "content": [text(" The first is red. ")]},
                  {"role": "user", "content": [text("And <image>?\n")]}], "add_vision_id": True},
    {"messages": [{"role": "user", "content": "one"}, {"role": "assistant", "content": ""}]},
    {"messages": []},
    {"messages": [{"role": "system", "content": "Use tools."}, {"role": "user", "content": "Rain?"},
                  {"role": "assistant", "content": "", "tool_calls": [call("weather", {"place": "Rome", "days": 2}, id="abc123def"), call("search", {"q": None}, id="xyz456ghi")]},
                  {"role": "tool", "name": "weather", "tool_call_id": "abc123def", "content": "{\"rain\": 0.5}"},
                  {"role": "tool", "name": "search", "tool_call_id": "xyz456ghi", "content": "no"}, {"role": "assistant", "content": "A little."}], "tools": TOOLS},
    {"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Me"}], "style": "long", "options": {"a": 1},
     "documents": [{"title": "one", "text": "First."}, {"title": "two", "text": "Second."}]},
]


class FixedClock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


def outcome(tokenizer, template, conversation, generation):
    """A text, or what our error's code has to be."""
    given = dict(conversation)
    try:
        texts, _ = chat_template_utils.render_jinja_template(
            conversations=[given.pop("messages")], chat_template=template, add_generation_prompt=generation, **given, **tokenizer.special_tokens_map)
        return texts[0]
    except (TemplateSyntaxError, SyntaxError):  # the latter from Python, which jinja2 compiles to
        return {"error": "invalid_tokenizer"}
    except Exception as error:
        return {"error": "invalid_prompt" if type(error) is TemplateError else "template_failed"}


def main():
    chat_template_utils.datetime = FixedClock
    tokenizer = LlamaTokenizerFast.from_pretrained(REPOSITORY / "samples" / "tiny")

    def texts(template):
        return [outcome(tokenizer, template, one, generation) for one in CONVERSATIONS for generation in (False, True)]

    cases = {name: texts(template) for name, template in CONTENT.items()}
    for name, results in cases.items():
        if not any(isinstance(one, str) for one in results) and not any(word in name for word in ("undefined", "text ", "changing", "must")):
            raise SystemExit(f"{name}: renders nothing")
    for source in INVALID:
        if outcome(tokenizer, source, CONVERSATIONS[0], True) != {"error": "invalid_tokenizer"}:
            raise SystemExit(f"jinja2 accepts {source}")
    data = {
        "versions": versions(),
        "now": list(NOW.timetuple())[:6] + [NOW.weekday(), NOW.timetuple().tm_yday],
        "conversations": CONVERSATIONS,
        "templates": CONTENT,
        "texts": cases,
        "expressions": {source: outcome(tokenizer, source, CONVERSATIONS[1], True) for source in EXPRESSIONS},
        "invalid": INVALID,
        "unsupported": UNSUPPORTED,
    }
    (output_folder() / "chat_templates.json").write_text(json.dumps(data, indent=0, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
