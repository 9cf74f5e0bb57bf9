"""The words of programs that people read: what their settings are called, and every sentence that they say.

Programs know no Django, so they mark nothing; `apps.core.retelling` finds their sentences again in the catalogue.
"""

import ast
from collections.abc import Iterator
from itertools import product

NAMED = {"Field": (1, 2), "Method": (1, 2), "Preset": (1, 2)}  # the arguments that are a label and a help
LEAST_LETTERS = 12
ENDS, BEGINNINGS = (".", "?"), "%“\"'"


def words_of_program(source: str) -> list[str]:
    """All of a module, each once, in the order in which they stand there."""
    tree = ast.parse(source)
    return list(dict.fromkeys((*_words_of_settings(tree), *filter(_is_sentence, _texts(tree)))))


def _words_of_settings(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in NAMED:
            for place in NAMED[node.func.id]:
                if place < len(node.args) and isinstance(node.args[place], ast.Constant):
                    yield node.args[place].value


def _is_sentence(text: str) -> bool:
    begins = bool(text) and (text[0].isupper() or text[0] in BEGINNINGS)
    letters = sum(letter.isalpha() for letter in text)
    return begins and text.endswith(ENDS) and " " in text and "\n" not in text and letters >= LEAST_LETTERS


def _texts(tree: ast.Module) -> Iterator[str]:
    """Every text but docstrings; of one with values in it, what `%` would make it from."""
    skipped = {id(text) for text in _docstrings(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            skipped.update(id(part) for part in node.values)
            yield from _templates(node)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            yield node.value


def _docstrings(tree: ast.Module) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr):
                yield first.value


def _templates(node: ast.JoinedStr) -> Iterator[str]:
    """One for each way in which an ending that depends on a number may come out."""
    names: dict[str, str] = {}
    parts = [_forms(part, names) for part in node.values]
    if len(parts) > 1 and parts[-2][-1].endswith(ENDS) and parts[-1][0].startswith("%("):
        parts.pop()  # another sentence may follow, which is recognised by itself
    yield from map("".join, product(*parts))


def _forms(part: ast.expr, names: dict[str, str]) -> list[str]:
    if isinstance(part, ast.Constant):
        return [part.value.replace("%", "%%")]
    value = part.value
    if isinstance(value, ast.IfExp):
        ends = [each.value for each in (value.body, value.orelse) if isinstance(each, ast.Constant)]
        if len(ends) == 2 and all(isinstance(end, str) for end in ends):
            return [end.replace("%", "%%") for end in ends]
    key = ast.dump(value)
    if key not in names:
        names[key] = _name(value, names)
    return [f"%({names[key]})s"]


def _name(value: ast.expr, names: dict[str, str]) -> str:
    """What a placeholder is called: as the variable is, or `n` for a count, and numbered where that is taken."""
    is_count = isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "len"
    name = value.id if isinstance(value, ast.Name) else value.attr if isinstance(value, ast.Attribute) else "value"
    base = "n" if is_count else name.strip("_").lower() or "value"
    taken = set(names.values())
    return next(each for each in (base, *(f"{base}{n}" for n in range(2, 99))) if each not in taken)
