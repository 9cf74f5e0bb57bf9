"""What stands in a column of texts that people should know before they train on it. Pure but for reading data.csv."""

from __future__ import annotations

import csv
import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from workers.preprocessing.balance import warn_of_balance
from workers.preprocessing.columns import BOOLEAN, CATEGORICAL, NUMERIC, TEXT, Column, shorten
from workers.preprocessing.doctor.features import text_features
from workers.preprocessing.doctor.label_errors import warn_of_labels
from workers.preprocessing.doctor.near_copies import near_texts, warn_of_near_copies
from workers.preprocessing.findings import Findings
from workers.preprocessing.items import Items, groups_of, tell_crossing, tell_repeated, tell_some, tell_torn
from workers.preprocessing.report import describe
from workers.texts import normalise, words_of

MOST_OTHER_COLUMNS = 2
VERY_LONG = 4_000  # characters; what is longer is cut off unless the settings say otherwise
COMPARED = 20_000
SHOWN = 240  # characters of a text that a finding shows
RARE_SCRIPT, SHOWN_SCRIPT = 0.02, 0.005
LOOKED_AT = 10_000  # texts that are compared, and whose labels are looked at
NAMED_SCRIPTS = {"CJK": "Han", "HIRAGANA": "Kana", "KATAKANA": "Kana"}
# UTF-8 that was read as Latin-1 ("Ã©", "â€™"), and what decoders put in the place of bytes they could not read.
MOJIBAKE = re.compile("\ufffd|[\u00c2\u00c3][\u0080-\u00bf]|\u00e2\u20ac[\u2018-\u2122\u0080-\u00bf]")


@dataclass(frozen=True)
class Texts:
    """The texts of all rows: `keys` are equal for texts of the same words, whatever their case, blanks and marks."""

    column: str
    values: list[str]
    keys: list[str]

    def shown(self, number: int) -> dict[str, str]:
        """What a finding shows of a text."""
        return {"text": shorten(self.values[number], SHOWN)}


def find_text_column(columns: Sequence[Column], target: str) -> str | None:
    """The column whose texts the others say little about: the longest free text, where at most two columns beside it
    and the target hold categories or numbers. None in a table that is not about texts."""
    others = [column for column in columns if column.name != target]
    texts = [column for column in others if column.type == TEXT]
    rest = [column for column in others if column.type in (NUMERIC, CATEGORICAL, BOOLEAN) and len(column.counts) > 1]
    if not texts or len(rest) > MOST_OTHER_COLUMNS:
        return None
    return max(texts, key=lambda column: column.mean_characters).name


def read_texts(path: Path, column: str) -> Texts:
    """Of data.csv, which holds the sound rows."""
    with open(path, newline="", encoding="utf-8") as file:
        values = [row[column] for row in csv.DictReader(file)]
    return Texts(column, values, [key_of(value) for value in values])


def key_of(text: str) -> str:
    words = [word for word in words_of(normalise(text, COMPARED)) if word[0].isalnum() or len(word) > 1]
    return hashlib.sha256(" ".join(words or [text]).encode("utf-8", "replace")).hexdigest()


def describe_texts(texts: Texts) -> dict[str, Any]:
    """For people: how long they are, and which scripts they are written in, most letters first."""
    lengths = sorted(map(len, texts.values)) or [0]
    return {
        "column": texts.column,
        "median_characters": lengths[len(lengths) // 2],
        "longest_characters": lengths[-1],
        "scripts": [[name, round(share, 4)] for name, share in script_shares(texts.values) if share >= SHOWN_SCRIPT],
    }


def script_shares(texts: Iterable[str]) -> list[tuple[str, float]]:
    """The share of each script ("Latin", "Han", "Cyrillic") in all letters, largest first."""
    letters: Counter[str] = Counter()
    for text in texts:
        letters.update(text)
    scripts: Counter[str] = Counter()
    for letter, count in letters.items():
        if letter.isalpha():
            scripts[script_of(letter)] += count
    total = scripts.total()
    return [(name, count / total) for name, count in sorted(scripts.items(), key=lambda item: (-item[1], item[0]))]


def script_of(letter: str) -> str:
    """The first word of its name in Unicode: "LATIN SMALL LETTER A"."""
    word = unicodedata.name(letter, "OTHER").split()[0].partition("-")[0]
    return NAMED_SCRIPTS.get(word, word.capitalize())


def warn_of_texts(texts: Texts, items: Items, findings: Findings) -> None:
    """What makes a model worse, or its figures better than it is."""
    _warn_of_form(texts, items, findings)
    _warn_of_copies(texts, items, findings)
    warn_of_near_texts(texts, items, "texts", findings)
    _warn_of_scripts(texts, findings)
    warn_of_balance(items, "texts", findings)
    empty = [number for number, value in enumerate(texts.values) if not value]

    def features_of(numbers: np.ndarray) -> np.ndarray:
        return text_features([texts.values[number] for number in numbers.tolist()])

    warn_of_labels(items, features_of, "texts", findings, looked_at=LOOKED_AT, unreadable=empty)


def _warn_of_form(texts: Texts, items: Items, findings: Findings) -> None:
    empty = [number for number, value in enumerate(texts.values) if not value]
    message = f"Rows without a text, which are left out of training: {len(empty):,}."
    tell_some(empty, items, "empty_texts", message, findings)
    long = [number for number, value in enumerate(texts.values) if len(value) > VERY_LONG]
    longest = max(map(len, texts.values), default=0)
    message = (
        f"Texts of more than {VERY_LONG:,} characters, of which a model reads the beginning: {len(long):,}; "
        f"the longest has {longest:,}."
    )
    tell_some(long, items, "long_texts", message, findings)
    warn_of_broken_letters([texts.values], items, findings)


def warn_of_broken_letters(sides: Sequence[Sequence[str]], items: Items, findings: Findings) -> None:
    """`sides` are the texts of all items, one list or several side by side."""
    broken = {number: text for side in reversed(sides) for number, text in enumerate(side) if MOJIBAKE.search(text)}
    if not broken:
        return
    numbers = sorted(broken)
    first = broken[numbers[0]]
    found = MOJIBAKE.search(first).start()
    shown = shorten(first[max(0, found - 12) : found + 20], 32)
    message = (
        f'Texts with letters that were read in the wrong encoding: {len(broken):,}, such as "{shown}". '
        "Save the file as UTF-8 where it was made."
    )
    tell_some(numbers, items, "broken_letters", message, findings)


def _warn_of_copies(texts: Texts, items: Items, findings: Findings) -> None:
    """Of texts that are alike, and not of empty ones."""
    groups = [numbers for numbers in groups_of(texts.keys) if texts.values[numbers[0]]]
    equal, alike = [], []
    for numbers in groups:
        seen: set[str] = set()
        for number in numbers:
            value = texts.values[number]
            if seen:
                (equal if value in seen else alike).append(number)
            seen.add(value)
    message = f"Texts that are equal to an earlier one: {len(equal):,}."
    tell_repeated(sorted(equal), items, "repeated_texts", message, findings)
    message = f"Texts that differ from an earlier one only in case, blanks or punctuation: {len(alike):,}."
    tell_repeated(sorted(alike), items, "similar_texts", message, findings)
    crossing = [numbers for numbers in groups if len({items.splits[number] for number in numbers}) > 1]
    if crossing:
        shown = shorten(texts.values[crossing[0][0]], 60)
        message = f'Texts that stand in more than one of train, val and test: {len(crossing):,}, such as "{shown}".'
        tell_crossing(crossing, items, "texts_across_splits", message, findings)
    torn = [numbers for numbers in groups if len({items.labels[number] for number in numbers}) > 1]
    if torn:
        shown = shorten(texts.values[torn[0][0]], 60)
        names = describe(sorted({items.labels[number] for number in torn[0]}))
        message = f'Texts that have several labels: {len(torn):,}, such as "{shown}" ({names}).'
        tell_torn(torn, items, "texts_with_two_labels", message, findings)


def warn_of_near_texts(texts: Texts, items: Items, noun: str, findings: Findings) -> None:
    """Of texts that are not alike word by word, in a sample of many."""
    first = list({key: number for number, key in reversed(list(enumerate(texts.keys)))}.values())
    step = 1 + len(first) // LOOKED_AT
    asked = sorted(first)[::step]
    groups = [[asked[place] for place in group] for group in near_texts([texts.values[number] for number in asked])]
    sampled = "" if step == 1 else f"{len(asked):,} of {len(texts.values):,} {noun} were compared."
    warn_of_near_copies(groups, items, noun, findings, sampled)


def _warn_of_scripts(texts: Texts, findings: Findings) -> None:
    common = [(name, share) for name, share in script_shares(texts.values) if share >= RARE_SCRIPT]
    if len(common) > 1:
        shares = ", ".join(f"{name} {share * 100:.0f} %" for name, share in common)
        findings.add("several_scripts", f"The texts are written in several scripts: {shares} of the letters.")
