"""The inputs of the target chat_template: the templates of tests/reference, and hostile ones."""
import pathlib
import re
import sys

REFERENCE = pathlib.Path(__file__).parent.parent / "reference"

HOSTILE = {
    "doubling_text": "{% set a = 'aaaaaaaaaaaaaaaa' %}" + "{% set a = a + a %}" * 40 + "{{ a }}",
    "doubling_tree": "{% set a = [1] %}" + "{% set a = [a, a] %}" * 24 + "{{ a }}",
    "nested_loops": "{% for a in 'aaaaaaaaaaaaaaaa' %}" * 5 + "x" + "{% endfor %}" * 5,
    "recursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "cycle": "{% set n = namespace() %}{% set n.n = n %}{{ n }}{{ n == n.n }}",
    "cycle_of_macros": "{% set n = namespace() %}{% macro f() %}{{ n.f }}{% endmacro %}{% set n.f = f %}{{ f() }}",
    "cycle_of_loops": "{% for i in [1, 2] %}{{ loop.changed(loop) }}{% for j, l in loop %}{{ l.changed(loop, [l]) }}{% endfor %}{% endfor %}",
    "brackets": "{{ " + "(" * 500,
    "blocks": "{% if 1 %}" * 200,
    "replaced": "{% set a = 'a' * 1000 %}{{ a.replace('', a) }}",
    "large_numbers": "{{ 9223372036854775807 + 1 }}{{ -9223372036854775807 // -1 }}{{ 9 ** 99 }}",
    "slices": "{{ 'abc'[-9223372036854775807:9223372036854775807:-1] }}{{ [1][::9223372036854775807] }}",
    "ranges": "{{ range(-9223372036854775807, 9223372036854775807) }}{{ range(9)[::-1] | list }}",
    "bad_utf8": "{{ '\udcff' }}",
    "open_string": "{{ 'a\\",
    "open_raw": "{% raw %}a{% endraw",
    "windows": "{{ 'é漢'.find('漢', -9) }}{{ 'é漢'.count('', 1, 9) }}{{ 'é漢'.startswith('', 3) }}",
}


def template_files():
    sys.path.insert(0, str(REFERENCE))
    from chat_template_expressions import EXPRESSIONS
    from chat_template_forms import CONTENT, UNSUPPORTED

    files = {re.sub(r"\W+", "_", name): source for name, source in CONTENT.items()}
    # several expressions a file, so that mutations cross them
    parts = [one for one in EXPRESSIONS if one.startswith("{{")]
    files.update({f"expressions_{i // 40}": "\n".join(parts[i : i + 40]) for i in range(0, len(parts), 40)})
    files["unsupported"] = "\n".join(UNSUPPORTED)
    files.update(HOSTILE)
    return {name: source.encode("utf-8", "surrogateescape") for name, source in files.items()}
