"""What stands in a column of texts that people should know before they train on it. Pure but for reading data.csv."""

from __future__ import annotations

import csv
import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workers.contract import SPLITS
from workers.preprocessing.columns import BOOLEAN, CATEGORICAL, NUMERIC, TEXT, Column, shorten
from workers.preprocessing.report import Warnings, describe
from workers.texts import normalise, words_of

MOST_OTHER_COLUMNS = 2
VERY_LONG = 4_000  # characters; what is longer is cut off unless the settings say otherwise
COMPARED = 20_000
RARE_SCRIPT, SHOWN_SCRIPT = 0.02, 0.005
IMBALANCE = 20
FEW_TEXTS = 20
NAMED_SCRIPTS = {"CJK": "Han", "HIRAGANA": "Kana", "KATAKANA": "Kana"}
# UTF-8 that was read as Latin-1 ("Ã©", "â€™"), and what decoders put in the place of bytes they could not read.
MOJIBAKE = re.compile("\ufffd|[\u00c2\u00c3][\u0080-\u00bf]|\u00e2\u20ac[\u2018-\u2122\u0080-\u00bf]")


@dataclass(frozen=True)
class Texts:
    """The texts of all rows: `keys` are equal for texts of the same words, whatever their case, blanks and marks."""

    column: str
    values: list[str]
    keys: list[str]


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


def warn_of_texts(texts: Texts, labels: Sequence[str], splits: Sequence[str], warnings: Warnings) -> None:
    """What makes a model worse, or its figures better than it is."""
    _warn_of_form(texts, warnings)
    _warn_of_copies(texts, labels, splits, warnings)
    _warn_of_scripts(texts, labels, warnings)
    _warn_of_imbalance(labels, splits, warnings)


def _warn_of_form(texts: Texts, warnings: Warnings) -> None:
    empty = sum(not value for value in texts.values)
    long = [len(value) for value in texts.values if len(value) > VERY_LONG]
    if empty:
        warnings.add("empty_texts", f"Rows without a text, which are left out of training: {empty:,}.")
    if long:
        warnings.add(
            "long_texts",
            f"Texts of more than {VERY_LONG:,} characters, of which a model reads the beginning: {len(long):,}; "
            f"the longest has {max(long):,}.",
        )
    warn_of_broken_letters(texts.values, warnings)


def warn_of_broken_letters(texts: Iterable[str], warnings: Warnings) -> None:
    if broken := [text for text in texts if MOJIBAKE.search(text)]:
        found = MOJIBAKE.search(broken[0]).start()
        shown = shorten(broken[0][max(0, found - 12) : found + 20], 32)
        warnings.add(
            "broken_letters",
            f'Texts with letters that were read in the wrong encoding: {len(broken):,}, such as "{shown}". '
            "Save the file as UTF-8 where it was made.",
        )


def _warn_of_copies(texts: Texts, labels: Sequence[str], splits: Sequence[str], warnings: Warnings) -> None:
    """Of texts that are alike, and not of empty ones."""
    places: dict[str, list[int]] = defaultdict(list)
    for number, key in enumerate(texts.keys):
        if texts.values[number]:
            places[key].append(number)
    repeated = [numbers for numbers in places.values() if len(numbers) > 1]
    if not repeated:
        return
    equal = sum(len(numbers) - len({texts.values[number] for number in numbers}) for numbers in repeated)
    alike = sum(len(numbers) - 1 for numbers in repeated) - equal
    if equal:
        warnings.add("repeated_texts", f"Texts that are equal to an earlier one: {equal:,}.")
    if alike:
        warnings.add(
            "similar_texts", f"Texts that differ from an earlier one only in case, blanks or punctuation: {alike:,}."
        )
    crossing = [numbers for numbers in repeated if len({splits[number] for number in numbers}) > 1]
    if crossing:
        shown = shorten(texts.values[crossing[0][0]], 60)
        warnings.add(
            "texts_across_splits",
            f'Texts that stand in more than one of train, val and test: {len(crossing):,}, such as "{shown}". '
            "The model knows them already when it is tested, so its figures are too good.",
        )
    torn = [numbers for numbers in repeated if len({labels[number] for number in numbers}) > 1]
    if torn:
        shown = shorten(texts.values[torn[0][0]], 60)
        names = describe(sorted({labels[number] for number in torn[0]}))
        warnings.add(
            "texts_with_two_labels", f'Texts that have several labels: {len(torn):,}, such as "{shown}" ({names}).'
        )


def _warn_of_scripts(texts: Texts, labels: Sequence[str], warnings: Warnings) -> None:
    common = [(name, share) for name, share in script_shares(texts.values) if share >= RARE_SCRIPT]
    if len(common) > 1:
        shares = ", ".join(f"{name} {share * 100:.0f} %" for name, share in common)
        warnings.add("several_scripts", f"The texts are written in several scripts: {shares} of the letters.")


def _warn_of_imbalance(labels: Sequence[str], splits: Sequence[str], warnings: Warnings) -> None:
    counts = Counter(label for label, split in zip(labels, splits, strict=True) if split == SPLITS[0])
    (largest, most), (smallest, fewest) = counts.most_common(1)[0], counts.most_common()[-1]
    if most > IMBALANCE * fewest:
        warnings.add(
            "imbalanced_classes",
            f'The class "{shorten(largest, 40)}" has {most:,} training texts and "{shorten(smallest, 40)}" {fewest:,}. '
            "Look at the F1 as well as at the accuracy, or set class_weights to balanced.",
        )
    if few := sorted(name for name, count in counts.items() if count < FEW_TEXTS):
        names = describe([f"{shorten(name, 40)} ({counts[name]})" for name in few])
        warnings.add("small_classes", f"Classes with fewer than {FEW_TEXTS} training texts: {names}.")
