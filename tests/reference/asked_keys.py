"""Which keys of a checkpoint's files the reference asks for.

Two ways together: files are loaded into dicts that note every get, [], in, pop and setdefault while
a checkpoint is loaded and used; and where the reference passes what it read on as keyword
arguments, the functions that receive them are read, for their parameters and for the keys that they
ask the rest (`**kwargs`) for.
"""

import ast
import inspect
import json
import textwrap


class Asked(dict):
    """A dict that notes the keys that it is asked for, also in its copies and in dicts within it."""

    def __init__(self, values, notes, prefix=""):
        super().__init__({k: Asked(v, notes, f"{prefix}{k}.") if isinstance(v, dict) else v for k, v in values.items()})
        self.notes, self.prefix = notes, prefix

    def note(self, key):
        if isinstance(key, str):
            self.notes.add(self.prefix + key)

    def get(self, key, *default):
        self.note(key)
        return super().get(key, *default)

    def pop(self, key, *default):
        self.note(key)
        return super().pop(key, *default)

    def setdefault(self, key, *default):
        self.note(key)
        return super().setdefault(key, *default)

    def __getitem__(self, key):
        self.note(key)
        return super().__getitem__(key)

    def __contains__(self, key):
        self.note(key)
        return super().__contains__(key)

    def copy(self):
        return Asked(self, self.notes, self.prefix)

    def __deepcopy__(self, memo):
        return Asked(json.loads(json.dumps(self)), self.notes, self.prefix)


class Watch:
    """Within it, JSON files of a folder are read as Asked. `notes`: keys by the name of the file."""

    def __init__(self, folder):
        self.notes = {path.name: set() for path in folder.iterdir()}
        self.texts = {path.read_text(): path.name for path in folder.iterdir() if path.suffix == ".json"}

    def __enter__(self):
        self.load, self.loads = json.load, json.loads

        def loads(text, *args, **kwargs):
            value = self.loads(text, *args, **kwargs)
            name = self.texts.get(text if isinstance(text, str) else None)
            return Asked(value, self.notes[name]) if name and isinstance(value, dict) else value

        json.loads = loads
        json.load = lambda file, *args, **kwargs: loads(file.read(), *args, **kwargs)
        return self

    def __exit__(self, *_):
        json.load, json.loads = self.load, self.loads


def arguments_of(*functions, dicts=("kwargs",)):
    """The parameters of functions, and the constant keys that they ask the dicts of these names for."""
    found = set()
    for function in functions:
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY) and name not in ("self", "cls"):
                found.add(name)
        found |= keys_in(function, dicts)
    return found


def keys_in(function, dicts=("kwargs",)):
    found = set()

    def is_dict(node):
        return isinstance(node, ast.Name) and node.id in dicts

    def add(node):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)

    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and is_dict(node.func.value) and node.args:
            if node.func.attr in ("get", "pop", "setdefault"):
                add(node.args[0])
        elif isinstance(node, ast.Subscript) and is_dict(node.value):
            add(node.slice)
        elif isinstance(node, ast.Compare) and isinstance(node.ops[0], (ast.In, ast.NotIn)) and is_dict(node.comparators[0]):
            add(node.left)
    return found
