"""What people should know of texts and their translations before they train on them. Pure."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from workers.contract import SPLITS
from workers.preprocessing.columns import shorten
from workers.preprocessing.doctor.languages import find_swapped
from workers.preprocessing.findings import Findings, Remedy
from workers.preprocessing.items import Items, groups_of, tell_crossing, tell_repeated, tell_some
from workers.preprocessing.pairs import Pairs
from workers.preprocessing.texts import Texts, script_of, warn_of_broken_letters, warn_of_near_texts

VERY_LONG = 500  # characters, some 128 pieces of words
UNLIKE_FACTOR, UNLIKE_DEVIATIONS = 3.0, 5.0
LONG_ENOUGH = 20  # characters: of a word or two any proportion is usual
MAD_TO_DEVIATION = 1.4826  # of normally distributed values
FEW_PAIRS = 2_000
DIGITS, GROUPED = re.compile(r"\d{2,}"), re.compile(r"(?<=\d)[,. \u2019'](?=\d{3}(?!\d))")
LOOKED_AT, LETTERS_LOOKED_AT = 50_000, 60


def warn_of_pairs(pairs: Pairs, items: Items, findings: Findings) -> None:
    """What makes a model worse, or its figures better than it is."""
    _warn_of_form(pairs, items, findings)
    _warn_of_lengths(pairs, items, findings)
    _warn_of_numbers(pairs, items, findings)
    _warn_of_copies(pairs, items, findings)
    warn_of_near_texts(pairs.source, items, "texts", findings)
    scripts = [_warn_of_scripts(side, items, findings) for side in (pairs.source, pairs.target)]
    if scripts[0] == scripts[1]:
        _warn_of_languages(pairs, items, findings)
    if (count := list(items.splits).count(SPLITS[0])) < FEW_PAIRS:
        findings.add(
            "few_pairs",
            f"There are {count:,} pairs to train on. A model learns to translate from some ten thousands; from fewer "
            "it learns short and repeated sentences.",
        )


def _warn_of_form(pairs: Pairs, items: Items, findings: Findings) -> None:
    sources, targets = pairs.source.values, pairs.target.values
    empty = [number for number, value in enumerate(sources) if not value]
    message = f"Pairs without a text to translate, which are left out of training: {len(empty):,}."
    tell_some(empty, items, "empty_sources", message, findings)
    same = [number for number, value in enumerate(sources) if value and value == targets[number]]
    if same:
        message = (
            f'Pairs with the same text on both sides: {len(same):,}, such as "{shorten(sources[same[0]], 60)}". '
            "A model learns from them to copy."
        )
        tell_some(same, items, "untranslated", message, findings)
    long = [number for number, value in enumerate(sources) if max(len(value), len(targets[number])) > VERY_LONG]
    message = (
        f"Pairs with more than {VERY_LONG} characters on a side: {len(long):,}. The longest are left out of training; "
        "cut them into sentences."
    )
    tell_some(long, items, "long_pairs", message, findings)
    warn_of_broken_letters([sources, targets], items, findings)


def far_from_usual(ratios: Sequence[float]) -> list[int]:
    """Places of ratios that are more than `UNLIKE_FACTOR` times the median or under its `UNLIKE_FACTOR`th part, and by
    `UNLIKE_DEVIATIONS` robust deviations of their logarithms away from it; the farthest first."""
    logs = np.log(np.array(ratios, dtype=np.float64))
    distances = np.abs(logs - np.median(logs)) if len(logs) else logs
    deviation = MAD_TO_DEVIATION * float(np.median(distances)) if len(logs) else 0.0
    far = np.flatnonzero(distances > max(math.log(UNLIKE_FACTOR), UNLIKE_DEVIATIONS * deviation))
    return far[np.argsort(-distances[far], kind="stable")].tolist()


def _warn_of_lengths(pairs: Pairs, items: Items, findings: Findings) -> None:
    """Of pairs whose lengths are in another proportion than those of all others: often they do not belong together."""
    sources, targets = pairs.source.values, pairs.target.values
    asked = [number for number, source in enumerate(sources)
             if source and max(len(source), len(targets[number])) >= LONG_ENOUGH]  # fmt: skip
    odd = [asked[place] for place in far_from_usual([len(targets[n]) / len(sources[n]) for n in asked])]
    if odd:
        message = (
            f"Pairs one side of which is far longer or shorter than in the others: {len(odd):,}, such as "
            f'"{shorten(sources[odd[0]], 40)}" and "{shorten(targets[odd[0]], 40)}". They may not belong together.'
        )
        tell_some(odd, items, "unlike_lengths", message, findings)


def _warn_of_numbers(pairs: Pairs, items: Items, findings: Findings) -> None:
    """Of pairs whose sides have numbers, and none that is on both."""
    sides = zip(pairs.source.values, pairs.target.values, strict=True)
    odd = [number for number, (source, target) in enumerate(sides) if _have_other_numbers(source, target)]
    if odd:
        source, target = (shorten(side.values[odd[0]], 40) for side in (pairs.source, pairs.target))
        message = (
            f'Pairs with other numbers on the two sides: {len(odd):,}, such as "{source}" and "{target}". They may not '
            "belong together."
        )
        tell_some(odd, items, "unlike_numbers", message, findings)


def _have_other_numbers(source: str, target: str) -> bool:
    found = numbers_in(source)
    return bool(found) and bool(other := numbers_in(target)) and not found & other


def numbers_in(text: str) -> set[str]:
    """The numbers of two digits or more as they may stand in any language: without what groups their thousands, and
    without zeros at their ends, as 150,000 is 15 times ten thousand in Chinese. Small ones are often words."""
    if not any(letter.isdigit() for letter in text):
        return set()
    joined = GROUPED.sub("", unicodedata.normalize("NFKC", text))
    return {digits.strip("0") for digits in DIGITS.findall(joined)} - {""}


@dataclass(frozen=True)
class Repeated:
    """Rows whose sources are alike: of each source, the rows of each of its targets, the first one first."""

    by_target: list[list[list[int]]]

    @classmethod
    def of(cls, pairs: Pairs) -> Repeated:
        """Rows without a source do not count."""
        filled = zip(pairs.keys, pairs.source.values, strict=True)
        found = []
        for numbers in groups_of([key if value else number for number, (key, value) in enumerate(filled)]):
            targets: dict[str, list[int]] = {}
            for number in numbers:
                targets.setdefault(pairs.target.keys[number], []).append(number)
            found.append(list(targets.values()))
        return cls(found)

    @property
    def groups(self) -> list[list[int]]:
        """The rows of each source."""
        return [[number for numbers in targets for number in numbers] for targets in self.by_target]

    @property
    def equal(self) -> list[int]:
        """Rows that say what an earlier one says."""
        return sorted(number for targets in self.by_target for numbers in targets for number in numbers[1:])

    @property
    def torn(self) -> list[list[int]]:
        """Of each source with several targets a row of each."""
        return [[numbers[0] for numbers in targets] for targets in self.by_target if len(targets) > 1]

    def others(self) -> list[int]:
        """The rows of all targets of a source but the first."""
        return sorted(number for targets in self.by_target for numbers in targets[1:] for number in numbers)


def tell_several(
    repeated: Repeated, items: Items, code: str, message: str, findings: Findings, relabel: dict[str, str] | None = None
) -> None:
    """Sources with several targets: all but the first can be left out, or get another as `relabel` says."""
    others = repeated.others()
    findings.add(
        code,
        message,
        total=len(others),
        shown=items.some_groups(repeated.torn),
        remedy=Remedy(leave_out=items.named(others), relabel=relabel or {}),
    )


def tell_sources_across_splits(repeated: Repeated, items: Items, code: str, noun: str, findings: Findings) -> None:
    groups = repeated.groups
    crossing = sum(len({items.splits[number] for number in numbers}) > 1 for numbers in groups)
    where = f"{noun} that stand in more than one of train, val and test: {crossing:,}."
    message = f"{where} Those that are trained on judge nothing."
    tell_crossing(groups, items, code, message, findings)


def _warn_of_copies(pairs: Pairs, items: Items, findings: Findings) -> None:
    repeated = Repeated.of(pairs)
    equal, torn = repeated.equal, repeated.torn
    message = f"Pairs that are alike to an earlier one: {len(equal):,}."
    tell_repeated(equal, items, "repeated_pairs", message, findings)
    if torn:
        most = max(torn, key=len)
        message = (
            f'Texts with several translations: {len(torn):,}, such as "{shorten(pairs.source.values[most[0]], 40)}" '
            f"with {len(most)}. All are learned from; the score compares with one of them at a time."
        )
        tell_several(repeated, items, "many_translations", message, findings)
    tell_sources_across_splits(repeated, items, "sources_across_splits", "Texts", findings)


def _warn_of_scripts(side: Texts, items: Items, findings: Findings) -> str:
    """Of texts without one letter of the script that most texts of their column are written in, which is returned."""
    step = max(1, len(side.values) // LOOKED_AT)
    scripts = {number: _scripts_in(side.values[number]) for number in range(0, len(side.values), step)}
    counts = Counter(script for found in scripts.values() for script in found)
    usual = max(counts, key=counts.__getitem__, default="")
    others = [number for number, found in scripts.items() if found and usual not in found]
    if others:
        message = (
            f'Texts in the column "{side.column}" that are not written in {usual} like the others: {len(others):,}, '
            f'such as "{shorten(side.values[others[0]], 40)}".'
        )
        sampled = "" if step == 1 else f"{len(scripts):,} of {len(side.values):,} texts were looked at."
        tell_some(others, items, "other_script", message, findings, about=side.column, sampled=sampled)
    return usual


def _scripts_in(text: str) -> set[str]:
    """Kana is counted as Han: beside each other they are Japanese, and neither is foreign there."""
    found = {_script(letter) for letter in text[:LETTERS_LOOKED_AT] if letter.isalpha()}
    return found - {"Kana"} | {"Han"} if "Kana" in found else found


_script = cache(script_of)


def _warn_of_languages(pairs: Pairs, items: Items, findings: Findings) -> None:
    """Of texts in the language of the other column, where both are written in one script."""
    sources, targets = pairs.source.values, pairs.target.values
    step = max(1, -(-len(sources) // LOOKED_AT))
    asked = [number for number in range(0, len(sources), step) if sources[number] != targets[number]]
    found = find_swapped([sources[number] for number in asked], [targets[number] for number in asked])
    if found:
        odd = [asked[place] for place in found]
        message = (
            f"Pairs a side of which reads like the language of the other column: {len(odd):,}, such as "
            f'"{shorten(sources[odd[0]], 40)}" and "{shorten(targets[odd[0]], 40)}".'
        )
        sampled = "" if step == 1 else f"{len(asked):,} of {len(sources):,} pairs were looked at."
        tell_some(odd, items, "wrong_language", message, findings, sampled=sampled)
