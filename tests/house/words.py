"""The words that the code marks for translation, found without GNU gettext, which not every machine has."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings
from django.utils.translation.template import templatize

from apps.core.management.program_words import words_of_program

# Name of the function -> which of its arguments are context, singular and plural; None where it has none.
MARKS = {
    "gettext": (None, 0, None),
    "gettext_lazy": (None, 0, None),
    "gettext_noop": (None, 0, None),
    "ngettext": (None, 0, 1),
    "ngettext_lazy": (None, 0, 1),
    "pgettext": (0, 1, None),
    "pgettext_lazy": (0, 1, None),
    "npgettext": (0, 1, 2),
    "npgettext_lazy": (0, 1, 2),
}
TEXT = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
CALL = re.compile(rf"""\b(_|n?p?gettext)\(((?:[^()'"]|{TEXT})*)\)""")
MODULE_OF_MARKS = "django.utils.translation"
Entry = tuple[str, str, str]  # context, singular, plural


def marked_words() -> set[Entry]:
    """Of all modules and templates of the site."""
    found: set[Entry] = set()
    for folder in ("apps", "lepton_site", "workers"):
        for path in (settings.BASE_DIR / folder).rglob("*.py"):
            source = path.read_text(encoding="utf-8")
            found.update(_in_python(source) if MODULE_OF_MARKS in source else ())
            found.update(("", text, "") for text in (words_of_program(source) if folder == "workers" else ()))
    for path in (settings.BASE_DIR / "templates").rglob("*.html"):
        found.update(_in_template(path))
    return found


def _in_python(source: str) -> Iterator[Entry]:
    tree = ast.parse(source)
    names = {
        alias.asname or alias.name: alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == MODULE_OF_MARKS
        for alias in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and names.get(node.func.id) in MARKS:
            places = MARKS[names[node.func.id]]
            entry = tuple(_constant(node.args, place) for place in places)
            if entry[1]:
                yield entry


def _constant(arguments: list[ast.expr], place: int | None) -> str:
    if place is None or place >= len(arguments):
        return ""
    value = arguments[place]
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""


def _in_template(path: Path) -> Iterator[Entry]:
    """Django's own reading of the template as Python, of which only the calls matter."""
    marked = templatize(path.read_text(encoding="utf-8"))
    for name, arguments in CALL.findall(marked):
        call = ast.parse(f"f({arguments})", mode="eval").body
        places = MARKS.get(name, MARKS["gettext"])
        yield tuple(_constant(call.args, place) for place in places)
