"""What is done to every row of a table: the steps of its preparation, counted, in one pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from workers.preprocessing.columns import MISSING_VALUES
from workers.preprocessing.csv_reader import Rows
from workers.preprocessing.json_lines import JsonRows
from workers.preprocessing.recipe import MISSING_WORDS, Recipe
from workers.preprocessing.report import BadItems

TRIM, BAD_ITEMS = "trim", "bad_items"
SoundRow = tuple[int, str | None, list[str]]  # its line, the part of the split it is given, and its values


def clean_value(value: str, *, with_missing_words: bool = True) -> str:
    """Trimmed, with one kind of line break; empty where it means "not known"."""
    value = value.strip()
    if with_missing_words and value in MISSING_VALUES:
        return ""
    return value.replace("\r\n", "\n").replace("\r", "\n") if "\r" in value else value


class Cleaner:
    """Cleans the rows of tables whose columns come in the order of `header`; those that it lacks are dropped."""

    def __init__(self, recipe: Recipe, header: Sequence[str], target: int) -> None:
        self.recipe, self.header, self.target = recipe, list(header), target
        self._finds_missing = recipe.has(MISSING_WORDS)
        self._rewritten = [(name, self.header.index(name)) for name in recipe.rewritten if name in self.header]

    def sound_rows(self, reader: Rows | JsonRows, split: str | None) -> Iterator[SoundRow]:
        """The cleaned rows that have a target and are not left out; those without one are bad."""
        order = [reader.table.header.index(name) for name in self.header]
        name = reader.table.name
        for line, row in reader:
            values = [self._clean(row[place]) for place in order]
            item = f"{name}:{line}"
            for column, place in self._rewritten:
                values[place] = self.recipe.rewrite(item, column, values[place])
            if decided := self.recipe.decide(item, values[self.target], split):
                values[self.target], part = decided
                if values[self.target]:
                    yield line, part, values
                else:
                    reason = f'line {line} has no value in the target "{self.header[self.target]}"'
                    reader.bad.add(name, reason, "missing_target", line)

    def _clean(self, value: str) -> str:
        cleaned = clean_value(value, with_missing_words=self._finds_missing)
        if cleaned != value:
            is_word = not cleaned and value.strip()
            self.recipe.note(MISSING_WORDS if is_word else TRIM, value, cleaned)
        return cleaned

    def describe(self, rows: int, bad: BadItems) -> list[dict[str, Any]]:
        """What was done to make this version, in order."""
        said = self.recipe.said
        words = "Took words for “not known” (?, NA, N/A, null, None, NaN) as missing values"
        return [
            said("read", "read", "Read the rows", touched=rows + bad.total, noun="rows"),
            said(TRIM, TRIM, "Removed blanks around values, and line breaks of other systems", noun="values"),
            said(MISSING_WORDS, MISSING_WORDS, words, is_optional=True, noun="values"),
            said(BAD_ITEMS, BAD_ITEMS, "Left out rows that cannot be used", touched=bad.total, noun="rows"),
            *self.recipe.describe(),
        ]
