"""Tables of texts and their translations: which two columns they are. Pure but for reading data.csv."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from workers.preprocessing.columns import BOOLEAN, CATEGORICAL, IDENTIFIER, NUMERIC, TEXT, Column, shorten
from workers.preprocessing.texts import Texts, describe_texts, key_of

USUAL_PAIRS = (
    ("source", "target"), ("src", "tgt"), ("src", "trg"), ("original", "translation"), ("text", "translation"),
    ("sentence", "translation"), ("source_text", "target_text"), ("input", "output"),
)  # fmt: skip
CODES = (
    "af am ar az be bg bn bs ca cs cy da de el en eo es et eu fa fi fr ga gl gu he hi hr hu hy id is it ja ka kk km kn "
    "ko ky la lo lt lv mg mk ml mn mr ms my nb ne nl nn no pa pl ps pt ro ru sd si sk sl so sq sr sv sw ta te tg th tl "
    "tr ug uk ur uz vi yi zh"
)
NAMES = (
    "arabic bengali bulgarian burmese catalan chinese croatian czech danish dutch english esperanto estonian finnish "
    "french german greek hebrew hindi hungarian icelandic indonesian italian japanese kazakh khmer korean latin "
    "latvian lithuanian malay mandarin mongolian norwegian persian polish portuguese romanian russian serbian slovak "
    "slovenian spanish swahili swedish tamil thai tibetan turkish ukrainian urdu uyghur vietnamese welsh"
)
LANGUAGES = frozenset(CODES.split()) | frozenset(NAMES.split())
NAMED_AFTER_LANGUAGE = re.compile(r"(?:text|sentence|translation)?[-_ ]?([a-z]+)(?:[-_ ][a-z]{2,4})?")
MOSTLY_DIFFERENT = 0.3
SHOWN = 200  # characters of a side that a finding shows


@dataclass(frozen=True)
class PairColumns:
    """The names of the columns to translate from and into."""

    source: str
    target: str


@dataclass(frozen=True)
class Pairs:
    """Both sides of all rows. `keys` are equal for sources of the same words, whatever their case, blanks and marks."""

    source: Texts
    target: Texts

    @property
    def keys(self) -> list[str]:
        return self.source.keys

    def shown(self, number: int) -> dict[str, Any]:
        """What a finding shows of a row."""
        sides = (self.source, self.target)
        return {"row": [[side.column, shorten(side.values[number], SHOWN)] for side in sides]}


def find_pair(columns: Sequence[Column], wanted: str | None) -> PairColumns | None:
    """The columns of a table of translations: those with usual names or called after languages, else its only two
    columns of free text. `wanted` is the column to predict, where somebody has said it; then it is the one that is
    translated into. None in a table that is about something else."""
    pair = _pair_by_name(columns) or _pair_by_content(columns)
    if pair is None or wanted in (None, pair.target):
        return pair
    return PairColumns(pair.target, pair.source) if wanted == pair.source else None


def _pair_by_name(columns: Sequence[Column]) -> PairColumns | None:
    written = {column.name.strip().lower(): column.name for column in columns if _is_written(column)}
    for source, target in USUAL_PAIRS:
        if source in written and target in written:
            return PairColumns(written[source], written[target])
    named = [name for lowered, name in written.items() if _is_language(lowered)]
    return PairColumns(named[0], named[1]) if len(named) > 1 else None


def _is_language(name: str) -> bool:
    match = NAMED_AFTER_LANGUAGE.fullmatch(name)
    return bool(match) and match.group(1) in LANGUAGES


def _is_written(column: Column) -> bool:
    """Whether it may hold sentences, short ones too, and not the names of a few classes."""
    if column.type == TEXT:
        return True
    return column.type in (IDENTIFIER, CATEGORICAL) and not column.numbers and column.unique_share > MOSTLY_DIFFERENT


def _pair_by_content(columns: Sequence[Column]) -> PairColumns | None:
    texts = [column.name for column in columns if column.type == TEXT]
    others = [c for c in columns if c.type in (NUMERIC, CATEGORICAL, BOOLEAN) and len(c.counts) > 1]
    return PairColumns(*texts) if len(texts) == 2 and not others else None


def read_pairs(path: Path, columns: PairColumns) -> Pairs:
    """Of data.csv, which holds the sound rows."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = [(row[columns.source], row[columns.target]) for row in csv.DictReader(file)]
    source, target = ([row[place] for row in rows] for place in (0, 1))
    return Pairs(*(Texts(name, values, [key_of(value) for value in values])
                   for name, values in ((columns.source, source), (columns.target, target))))  # fmt: skip


def describe_pairs(pairs: Pairs) -> dict[str, Any]:
    """For people: both sides, and how many characters a translation has for each of its source, in the middle."""
    ratios = [len(target) / len(source) for source, target in zip(pairs.source.values, pairs.target.values, strict=True)
              if source]  # fmt: skip
    return {
        "source": describe_texts(pairs.source),
        "target": describe_texts(pairs.target),
        "length_ratio": round(median(ratios), 3) if ratios else None,
    }
