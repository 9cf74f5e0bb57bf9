"""Tables of texts and their translations: which two columns they are, and what people should know of them before they
train. Pure but for reading data.csv."""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

from workers.contract import SPLITS
from workers.preprocessing.columns import BOOLEAN, CATEGORICAL, IDENTIFIER, NUMERIC, TEXT, Column, shorten
from workers.preprocessing.findings import Findings
from workers.preprocessing.items import groups_of
from workers.preprocessing.texts import Texts, describe_texts, key_of, script_of, warn_of_broken_letters

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
VERY_LONG = 500  # characters, some 128 pieces of words
UNLIKE_FACTOR, UNLIKE_DEVIATIONS = 3.0, 5.0
LONG_ENOUGH = 20  # characters: of a word or two any proportion is usual
MAD_TO_DEVIATION = 1.4826  # of normally distributed values
FEW_PAIRS = 2_000
LOOKED_AT, LETTERS_LOOKED_AT = 50_000, 60


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


@dataclass(frozen=True)
class Repeated:
    """Sources that come several times: the rows of each, and how many different targets these have."""

    groups: list[list[int]]
    targets: list[int]

    @classmethod
    def of(cls, pairs: Pairs) -> Repeated:
        """Rows without a source do not count."""
        filled = zip(pairs.keys, pairs.source.values, strict=True)
        groups = groups_of([key if value else number for number, (key, value) in enumerate(filled)])
        return cls(groups, [len({pairs.target.keys[number] for number in numbers}) for numbers in groups])

    @property
    def equal(self) -> int:
        """How many rows say what an earlier one says."""
        return sum(len(numbers) - count for numbers, count in zip(self.groups, self.targets, strict=True))

    @property
    def torn(self) -> int:
        """How many sources have several targets."""
        return sum(count > 1 for count in self.targets)

    def most_torn(self) -> tuple[int, int]:
        """A row of the source with the most targets, and how many it has."""
        most = max(self.targets)
        return self.groups[self.targets.index(most)][0], most

    def crossing(self, splits: Sequence[str]) -> int:
        """How many sources stand in several parts of the split."""
        return sum(len({splits[number] for number in numbers}) > 1 for numbers in self.groups)


def warn_of_pairs(pairs: Pairs, splits: Sequence[str], findings: Findings) -> None:
    """What makes a model worse, or its figures better than it is."""
    _warn_of_form(pairs, findings)
    _warn_of_lengths(pairs, findings)
    _warn_of_copies(pairs, splits, findings)
    for side in (pairs.source, pairs.target):
        _warn_of_scripts(side, findings)
    if (count := list(splits).count(SPLITS[0])) < FEW_PAIRS:
        findings.add(
            "few_pairs",
            f"There are {count:,} pairs to train on. A model learns to translate from some ten thousands; from fewer "
            "it learns short and repeated sentences.",
        )


def _warn_of_form(pairs: Pairs, findings: Findings) -> None:
    sources, targets = pairs.source.values, pairs.target.values
    if empty := sum(not value for value in sources):
        findings.add("empty_sources", f"Pairs without a text to translate, which are left out of training: {empty:,}.")
    if same := [source for source, target in zip(sources, targets, strict=True) if source and source == target]:
        findings.add(
            "untranslated",
            f'Pairs with the same text on both sides: {len(same):,}, such as "{shorten(same[0], 60)}". '
            "A model learns from them to copy.",
        )
    if long := sum(len(a) > VERY_LONG or len(b) > VERY_LONG for a, b in zip(sources, targets, strict=True)):
        findings.add(
            "long_pairs",
            f"Pairs with more than {VERY_LONG} characters on a side: {long:,}. The longest are left out of training; "
            "cut them into sentences.",
        )
    warn_of_broken_letters([*sources, *targets], findings)


def _warn_of_lengths(pairs: Pairs, findings: Findings) -> None:
    """Of pairs whose lengths are in another proportion than those of all others: often they do not belong together."""
    rows = [row for row in zip(pairs.source.values, pairs.target.values, strict=True)
            if all(row) and max(map(len, row)) >= LONG_ENOUGH]  # fmt: skip
    if not rows:
        return
    ratios = [math.log(len(target) / len(source)) for source, target in rows]
    middle = median(ratios)
    deviation = MAD_TO_DEVIATION * median(abs(ratio - middle) for ratio in ratios)
    most = max(math.log(UNLIKE_FACTOR), UNLIKE_DEVIATIONS * deviation)
    odd = [(abs(ratio - middle), row) for ratio, row in zip(ratios, rows, strict=True) if abs(ratio - middle) > most]
    if odd:
        source, target = max(odd)[1]
        findings.add(
            "unlike_lengths",
            f"Pairs one side of which is far longer or shorter than in the others: {len(odd):,}, such as "
            f'"{shorten(source, 40)}" and "{shorten(target, 40)}". They may not belong together.',
        )


def _warn_of_copies(pairs: Pairs, splits: Sequence[str], findings: Findings) -> None:
    repeated = Repeated.of(pairs)
    if equal := repeated.equal:
        findings.add("repeated_pairs", f"Pairs that are alike to an earlier one: {equal:,}.")
    if many := repeated.torn:
        shown, most = repeated.most_torn()
        findings.add(
            "many_translations",
            f'Texts with several translations: {many:,}, such as "{shorten(pairs.source.values[shown], 40)}" with '
            f"{most}. All are learned from; the score compares with one of them at a time.",
        )
    if crossing := repeated.crossing(splits):
        findings.add(
            "sources_across_splits",
            f"Texts that stand in more than one of train, val and test: {crossing:,}. Those that are trained on judge "
            "nothing.",
        )


def _warn_of_scripts(side: Texts, findings: Findings) -> None:
    """Of texts without one letter of the script that most texts of their column are written in."""
    rows = side.values[:: max(1, len(side.values) // LOOKED_AT)]
    scripts = [_scripts_in(value) for value in rows]
    counts = Counter(script for found in scripts for script in found)
    if len(counts) < 2:
        return
    usual = max(counts, key=counts.__getitem__)
    others = [value for value, found in zip(rows, scripts, strict=True) if found and usual not in found]
    if others:
        findings.add(
            "other_script",
            f'Texts in the column "{side.column}" that are not written in {usual} like the others: '
            f'{len(others) * len(side.values) // len(rows):,}, such as "{shorten(others[0], 40)}".',
        )


def _scripts_in(text: str) -> set[str]:
    """Kana is counted as Han: beside each other they are Japanese, and neither is foreign there."""
    found = {_script(letter) for letter in text[:LETTERS_LOOKED_AT] if letter.isalpha()}
    return found - {"Kana"} | {"Han"} if "Kana" in found else found


_script = cache(script_of)
