"""Texts of transformers' apply_chat_template: writes tests/golden/data/chat_templates.json."""

import json

from common import REPOSITORY, output_folder, versions
from transformers import LlamaTokenizerFast


def text(words):
    return {"type": "text", "text": words}


IMAGE = {"type": "image"}
CONVERSATIONS = [
    [{"role": "user", "content": [text("Hello!")]}],
    [{"role": "user", "content": [IMAGE, text("What is this?")]}],
    [{"role": "user", "content": [text("Compare: "), IMAGE, text(" and "), IMAGE]},
     {"role": "assistant", "content": [text(" The first is red. ")]},
     {"role": "user", "content": [text("And {{ this }}? {% no %}\n")]}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi\n"}, {"role": "assistant", "content": "Hi."},
     {"role": "user", "content": "  é ü 漢  "}],
    [{"role": "user", "content": "one"}, {"role": "assistant", "content": ""}],
    [],
]

# Written for this test, in the styles of published templates.
TEMPLATES = {
    "turns of parts": "{% for message in messages %}{{ message['role'].capitalize() }}{% if message['content'][0]['type'] == 'image' %}{{ ':' }}"
                      "{% else %}{{ ': ' }}{% endif %}{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}"
                      "{% elif part['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
                      "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}",
    "markers": "{% for m in messages %}{{ '<|begin|>' + m.role + '\\n' + (m.content if m.content is string else 'parts') + '<|end|>' + '\\n' }}"
               "{% endfor %}{% if add_generation_prompt %}{{ '<|begin|>assistant\\n' }}{% endif %}",
    "system apart": "{% if messages and messages[0]['role'] == 'system' %}{% set rest = messages[1:] %}{% set system = messages[0]['content'] %}"
                    "{% else %}{% set rest = messages %}{% set system = false %}{% endif %}{% for m in rest %}"
                    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
                    "{% if loop.index0 == 0 and system != false %}{% set content = '<<SYS>>' + system + '<</SYS>> ' + m['content'] %}"
                    "{% else %}{% set content = m['content'] %}{% endif %}{% if m['role'] == 'user' %}{{ bos_token + '[I] ' + content | trim + ' [/I]' }}"
                    "{% elif m['role'] == 'assistant' %}{{ ' ' ~ content.strip() ~ ' ' ~ eos_token }}{% endif %}{% endfor %}",
    "lines": """
{#- a comment -#}
{%- for m in messages %}
    {%- if not loop.first %}

    {% endif %}
  {% if m.role in ['user', 'assistant'] %}
    {{ loop.index }}/{{ loop.length }} {{ m.role | upper }}{{ '' if m.content is not string else ': ' ~ m.content }}
  {% else %}
# {{ m['role'] }}
{% endif %}
    {%- if loop.last and add_generation_prompt is defined -%}
        last
    {%- endif %}
{% endfor %}
{{- 'nobody' if messages | length == 0 }}
end
""",
    "tests": "{% set n = messages|length - 1 %}{{ n > 0 }}{{ n >= 2 or not (n < 1 and true) }}{{ 'a' in 'cat' }}{{ 'x' not in ['y'] }}"
             "{{ nothing is defined }}{{ nothing }}{{ none is none }}{{ nothing | default('d') }}{{ messages[-1].role if messages else 'empty' }}"
             "{{ -3 % 2 }}{{ 2 * 3 }}{{ 'abc'.startswith('ab') }}{{ 'ABC'|lower }}{{ 'xxaxx'.strip('x') }}{{ nothing != 'x' }}{{ nothing == 'x' }}"
             "{% if messages %}{{ messages[0].get('role') }}{% endif %}{{ \"it's\" }}{{ 'it\\'s' }}",
}
UNSUPPORTED = ["{% macro f() %}{% endmacro %}", "{{ f(x }}", "{% for a, b in x %}{% endfor %}", "{{ x | batch(2) }}", "{% if x %}", "{{ messages }}",
               "{{ 'a", "{% endif %}", "{{ x", "{% set ns = namespace(a=1) %}", "{{ 1 + 'a' }}", "{{ x is divisibleby }}"]


def outcome(tokenizer, template, messages, generation):
    try:
        return tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False, add_generation_prompt=generation)
    except Exception as error:
        return {"error": str(error)}


def main():
    tokenizer = LlamaTokenizerFast.from_pretrained(REPOSITORY / "samples" / "tiny")
    cases = []
    for name, template in TEMPLATES.items():
        for messages in CONVERSATIONS:
            for generation in (False, True):
                result = outcome(tokenizer, template, messages, generation)
                if isinstance(result, dict) and "alternate" not in result["error"]:
                    continue  # the style does not support this conversation
                if "[{'type'" in str(result):
                    continue  # a list as Python prints it, which is useless in a prompt
                cases.append({"template": name, "messages": messages, "add_generation_prompt": generation, "result": result})
    data = {"versions": versions(), "templates": TEMPLATES, "unsupported": UNSUPPORTED, "cases": cases}
    (output_folder() / "chat_templates.json").write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
