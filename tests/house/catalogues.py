"""Catalogues of translations, read as they stand in the .po files."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.house.words import Entry

FIELD = re.compile(r'(msgctxt|msgid_plural|msgid|msgstr(?:\[\d\])?) (".*")')


@dataclass(frozen=True)
class Translated:
    """`said` has one text for each form of the plural, and one where there is none."""

    entry: Entry
    said: tuple[str, ...]
    is_fuzzy: bool

    @property
    def is_done(self) -> bool:
        return all(self.said) and not self.is_fuzzy


def read_catalogue(path: Path) -> Iterator[Translated]:
    """Every entry but the header; those that are obsolete are none."""
    for block in path.read_text(encoding="utf-8").strip().split("\n\n"):
        fields = _fields(block)
        if fields.get("msgid"):
            entry = (fields.get("msgctxt", ""), fields["msgid"], fields.get("msgid_plural", ""))
            said = tuple(text for name, text in fields.items() if name.startswith("msgstr"))
            yield Translated(entry, said, bool(re.search(r"^#,.*\bfuzzy\b", block, re.MULTILINE)))


def _fields(block: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in block.splitlines():
        if found := FIELD.fullmatch(line):
            name = found[1]
            fields[name] = ast.literal_eval(found[2])
        elif line.startswith('"') and name:
            fields[name] += ast.literal_eval(line)
    return fields
