"""Columns that carry nothing, and those that a few words keep from being numbers. Pure but for reading data.csv."""

from __future__ import annotations

import csv
from collections.abc import Container, Mapping, Sequence
from pathlib import Path

from workers.preprocessing.columns import Column, is_number, shorten
from workers.preprocessing.findings import Findings, Remedy
from workers.preprocessing.items import Items, tell_some
from workers.preprocessing.report import describe

MOSTLY_NUMBERS = 0.9
SHOWN = 40  # characters of a word


def warn_of_columns(
    path: Path, columns: Sequence[Column], needed: Container[str], ids: Sequence[str], splits: Sequence[str],
    findings: Findings,
) -> None:  # fmt: skip
    """Of the table in `path`. Columns that are `needed` say what it is about, whatever stands in them."""
    others = [column for column in columns if column.name not in needed]
    empty = [column.name for column in others if not column.present]
    constant = [column.name for column in others if len(column.counts) == 1 and not column.missing]
    if empty:
        message = f"No value at all has the column {describe(empty)}."
        findings.add("empty_column", message, remedy=Remedy(drop=empty))
    if constant:
        message = f"The same value in every row has the column {describe(constant)}."
        findings.add("constant_column", message, remedy=Remedy(drop=constant))
    nearly = [column for column in columns if column.numbers >= MOSTLY_NUMBERS * column.present and column.non_numbers]
    words = words_in(path, [column.name for column in nearly])
    for column in nearly:
        _tell_words(column, words[column.name], Items(ids, [""] * len(ids), splits), findings)


def words_in(path: Path, names: Sequence[str]) -> dict[str, dict[int, str]]:
    """What is no number in some columns, by the rows."""
    found: dict[str, dict[int, str]] = {name: {} for name in names}
    if names:
        with open(path, newline="", encoding="utf-8") as file:
            for number, row in enumerate(csv.DictReader(file)):
                for name in names:
                    if row[name] and not is_number(row[name]):
                        found[name][number] = row[name]
    return found


def _tell_words(column: Column, words: Mapping[int, str], items: Items, findings: Findings) -> None:
    others = "1 value that is none" if len(words) == 1 else f"{len(words):,} values that are none"
    message = (
        f'The column "{column.name}" has {column.numbers:,} numbers and {others}, such as '
        f'"{shorten(column.first_word, SHOWN)}", so it is not taken as numbers.'
    )
    shown = Items(
        items.ids, items.labels, items.splits, lambda row: {"row": [[column.name, shorten(words[row], SHOWN)]]}
    )
    tell_some(list(words), shown, "almost_numeric", message, findings, about=column.name)
