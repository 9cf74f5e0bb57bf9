"""The items of a data set as findings speak of them, and copies among them. Pure."""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from workers.contract import SPLITS
from workers.preprocessing.columns import shorten
from workers.preprocessing.findings import SHOWN_ITEMS, Findings, Remedy

TRAIN = SPLITS[0]
SHOWN_NAME, LONG_NAME = 40, 100  # characters of the name of a group


class RowIds(Sequence[str]):
    """``table.csv:line`` of each row, of millions without a string for each."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.starts: list[int] = []
        self.lines = array("L")

    def begin(self, name: str) -> None:
        """The rows that come now are of this table."""
        self.names.append(name)
        self.starts.append(len(self.lines))

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, number: int) -> str:
        return f"{self.names[bisect_right(self.starts, number) - 1]}:{self.lines[number]}"

    def to_index(self) -> list[dict[str, Any]]:
        """As they stand in index.json: a table and its lines after the other."""
        ends = [*self.starts[1:], len(self.lines)]
        return [
            {"name": name, "lines": self.lines[start:end].tolist()}
            for name, start, end in zip(self.names, self.starts, ends, strict=True)
        ]


@dataclass(frozen=True)
class Named(Sequence[str]):
    """The ids of the items of these numbers, of millions without a string for each."""

    ids: Sequence[str]
    numbers: Sequence[int]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, place: int) -> str:
        return self.ids[self.numbers[place]]


@dataclass(frozen=True)
class Items:
    """`ids`, `labels` and `splits` of all items; `show` gives what people see of one, by its number."""

    ids: Sequence[str]
    labels: Sequence[str]
    splits: Sequence[str]
    show: Callable[[int], dict[str, Any]] = field(default=lambda number: {})

    def shown(self, number: int, **more: Any) -> dict[str, Any]:
        """An item as a finding has it."""
        facts = {"id": self.ids[number], "label": self.labels[number], "split": self.splits[number]}
        return facts | self.show(number) | more

    def some(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        """The first of them."""
        return [self.shown(number) for number in numbers[:SHOWN_ITEMS]]

    def some_groups(self, groups: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
        """The first items of groups of like ones, under each other. The first of each group stays as it is."""
        return list(islice(self._groups(groups), SHOWN_ITEMS))

    def some_suggested(self, numbers: Sequence[int], suggested: Mapping[int, str]) -> list[dict[str, Any]]:
        """The first of them, with the label that each can get, where there is one."""
        return [
            self.shown(number, **({"suggested": suggested[number]} if number in suggested else {}))
            for number in numbers[:SHOWN_ITEMS]
        ]

    def _groups(self, groups: Sequence[Sequence[int]]) -> Iterator[dict[str, Any]]:
        for first, *others in groups:
            yield self.shown(first, stays=True)
            yield from map(self.shown, others)

    def named(self, numbers: Sequence[int]) -> Named:
        """The ids of items."""
        return Named(self.ids, numbers)


@dataclass(frozen=True)
class Group:
    """Items that people see as one, such as all rows of a user: its id, what is said of it, and the items."""

    id: str
    facts: list[tuple[str, str]]
    numbers: Sequence[int]

    @classmethod
    def of(cls, column: str, value: str, facts: list[tuple[str, str]], numbers: Sequence[int]) -> Group:
        """The rows with one value in a column. Long values are known by their beginning and a hash."""
        digest = hashlib.sha256(value.encode("utf-8", "replace")).hexdigest()[:12]
        name = value if len(value) <= LONG_NAME else f"{value[:LONG_NAME]}…{digest}"
        return cls(f"{column} = {name}", [(column, shorten(value, SHOWN_NAME)), *facts], numbers)


@dataclass(frozen=True)
class Copies:
    """Codes and words for copies of one kind of items. `noun` begins a sentence; `copies` says in which way they are
    copies; codes that are empty are not told."""

    noun: str
    copies: str
    repeated: str = "duplicates"
    crossing: str = "duplicate_across_splits"
    torn: str = "conflicting_labels"
    torn_words: str = "stand in more than one class"


def groups_of(keys: Sequence[Hashable]) -> list[list[int]]:
    """Numbers of items with equal keys, of each key that comes twice or more."""
    places: dict[Hashable, list[int]] = defaultdict(list)
    for number, key in enumerate(keys):
        places[key].append(number)
    return [numbers for numbers in places.values() if len(numbers) > 1]


def tell_crossing(
    groups: Sequence[Sequence[int]], items: Items, code: str, message: str, findings: Findings, *, like: str = "a copy"
) -> None:
    """Copies, or what they are `like`, that stand in several parts of the split: they can go to training all, or leave
    it."""
    found = [numbers for numbers in groups if len({items.splits[number] for number in numbers}) > 1]
    if not found:
        return
    judged = sum(items.splits[n] != TRAIN for numbers in found for n in numbers)
    all_judged = sum(split != TRAIN for split in items.splits)
    learned = [n for numbers in found for n in numbers if items.splits[n] == TRAIN]
    findings.add(
        code,
        message,
        cost=f"{judged:,} of the {all_judged:,} items that judge a model ({judged / max(1, all_judged):.1%}) have "
        f"{like} in another part. If a model knows them by heart, its figures can be too good by as much.",
        total=sum(map(len, found)),
        shown=items.some([number for numbers in found for number in numbers]),
        remedy=Remedy(
            leave_out=items.named(learned),
            move={items.ids[n]: TRAIN for numbers in found for n in numbers if items.splits[n] != TRAIN},
        ),
    )


def tell_some(
    numbers: Sequence[int], items: Items, code: str, message: str, findings: Findings, *, about: str = "",
    cost: str = "", sampled: str = "",
) -> None:  # fmt: skip
    """Items that can be left out, where there are any."""
    if numbers:
        findings.add(
            code,
            message,
            about=about,
            cost=cost,
            total=len(numbers),
            shown=items.some(numbers),
            remedy=Remedy(leave_out=items.named(numbers)),
            sampled=sampled,
        )


def tell_groups(
    groups: Sequence[Group], total: int, numbers: Sequence[int], items: Items, code: str, message: str,
    findings: Findings, *, cost: str = "",
) -> None:  # fmt: skip
    """The first of `total` groups, whose items, all of which are `numbers`, can be left out; without any of these they
    are shown alone."""
    can_go = len(numbers) > 0
    findings.add(
        code,
        message,
        cost=cost,
        total=total,
        shown=[{"id": each.id, "row": [list(fact) for fact in each.facts]} for each in groups],
        remedy=Remedy(
            leave_out=items.named(numbers),
            groups={each.id: items.named(each.numbers) for each in groups[:SHOWN_ITEMS] if can_go},
        ),
    )


def tell_repeated(
    numbers: Sequence[int], items: Items, code: str, message: str, findings: Findings, *,
    beside: Sequence[Sequence[int]] = (), sampled: str = "",
) -> None:  # fmt: skip
    """Items that another one comes before; they can be left out. `beside` are groups of like ones, to be shown."""
    if numbers:
        share = len(numbers) / len(items.ids)
        findings.add(
            code,
            message,
            cost=f"{share:.1%} of the data is said more than once; a model leans towards it, and training takes as "
            "much longer.",
            total=len(numbers),
            shown=items.some_groups(beside) if beside else items.some(numbers),
            remedy=Remedy(leave_out=items.named(numbers)),
            sampled=sampled,
        )


def tell_lacking(
    lacking: Mapping[str, Sequence[int]], split: str, items: Items, code: str, message: str, findings: Findings
) -> None:
    """Labels that a part of the split has none of, and the items of each, from which some can be moved there: all of
    them to training, to another part as many as its share of all items, and never the last of another."""
    moved: dict[str, str] = {}
    shown: list[int] = []
    share = list(items.splits).count(split) / max(1, len(items.splits))
    for numbers in lacking.values():
        spare = [number for number in numbers if items.splits[number] == TRAIN]
        wanted = min(len(spare) - 1, max(1, round(share * len(numbers))))
        chosen = numbers if split == TRAIN else spare[len(spare) - max(0, wanted) :]
        shown += chosen or numbers[:1]
        moved |= {items.ids[number]: split for number in chosen}
    findings.add(
        code,
        message,
        about=split,
        total=len(shown),
        shown=items.some(shown),
        remedy=Remedy(move=moved),
    )


def tell_torn(groups: Sequence[Sequence[int]], items: Items, code: str, message: str, findings: Findings) -> None:
    """Copies with several labels; they can be left out."""
    found = [n for numbers in groups if len({items.labels[n] for n in numbers}) > 1 for n in numbers]
    if found:
        findings.add(
            code,
            message,
            cost=f"No model can be right about all of these {len(found):,} items.",
            total=len(found),
            shown=items.some(found),
            remedy=Remedy(leave_out=items.named(found)),
        )


def warn_of_copies(keys: Sequence[Hashable], items: Items, words: Copies, findings: Findings) -> None:
    """`keys` are equal for equal content."""
    groups = groups_of(keys)
    crossing = sum(len({items.splits[number] for number in numbers}) > 1 for numbers in groups)
    message = f"{words.noun} that stand in more than one of train, val and test: {crossing:,}."
    tell_crossing(groups, items, words.crossing, message, findings)
    later = sorted(number for numbers in groups for number in numbers[1:])
    message = f"{words.noun} that are {words.copies}: {len(later):,}."
    tell_repeated(later, items, words.repeated, message, findings)
    if words.torn:
        torn = sum(len({items.labels[number] for number in numbers}) > 1 for numbers in groups)
        message = f"{words.noun} that {words.torn_words}: {torn:,}."
        tell_torn(groups, items, words.torn, message, findings)
