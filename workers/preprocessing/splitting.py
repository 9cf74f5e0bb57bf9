"""Which row or image is for training, validation or test. Pure: the same content gives the same split in any order."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from workers.contract import SPLITS, ProgramFailure
from workers.preprocessing.findings import Findings
from workers.preprocessing.items import Items, tell_lacking, tell_some
from workers.preprocessing.report import describe

WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
WORD = "|".join(WORDS)
AT_END = re.compile(rf"(?:^|[^a-z])({WORD})$")
AT_START = re.compile(rf"^({WORD})[^a-z]")


@dataclass(frozen=True)
class Assignment:
    """`splits` has one of train, val, test per item; `carved` names the splits that were taken out of train."""

    splits: list[str]
    is_users: bool
    carved: tuple[str, ...]

    def as_before(self, source: str | None) -> Assignment:
        """The split of an earlier version, taken over item by item, is still whose it was."""
        return self if source is None else replace(self, is_users=source == "user")

    @property
    def source(self) -> str:
        return "user" if self.is_users else "stratified"


def split_of_folder(name: str) -> str | None:
    """The split that a folder called `name` stands for, or None."""
    return WORDS.get(name.lower())


def split_of_stem(stem: str) -> str | None:
    """The split in a file's name without ending: ``mnist_train``, ``test-2024`` or ``val``; None where it has none."""
    stem = stem.lower()
    found = AT_END.search(stem) or AT_START.search(stem)
    return WORDS[found.group(1)] if found else None


def check_fractions(fractions: Sequence[float]) -> None:
    """Raises ProgramFailure ``bad_split_fractions``."""
    is_sound = len(fractions) == 3 and all(0 <= f <= 1 for f in fractions) and fractions[0] > 0
    if not is_sound or abs(sum(fractions) - 1) > 1e-6:
        raise ProgramFailure(
            "bad_split_fractions",
            f"The shares of train, val and test are {list(fractions)}; they must be from 0 to 1 and add up to 1.",
            hint="Use for example 0.8, 0.1 and 0.1.",
            blame="settings",
            field="split_fractions",
        )


def assign_splits(
    labels: Sequence[str], keys: Sequence[str], given: Sequence[str | None], fractions: Sequence[float], seed: int
) -> Assignment:
    """Keep the user's split where there is one and carve what is missing out of train.

    One label, content hash and given split (or None) per item. Carving is stratified by label, keeps items with equal
    hash together and depends only on seed and content. Raises ProgramFailure ``no_train_split``.
    """
    require_train(given)
    present = {split for split in given if split}
    wished = dict(zip(SPLITS[1:], fractions[1:], strict=True))
    shares = {split: share for split, share in wished.items() if split not in present and share > 0}
    splits = [split or "train" for split in given]
    in_train = [number for number, split in enumerate(splits) if split == "train"]
    total = fractions[0] + sum(shares.values())
    wanted = {split: share / total for split, share in shares.items()}
    for number, split in carve([labels[n] for n in in_train], [keys[n] for n in in_train], wanted, seed).items():
        splits[in_train[number]] = split
    return Assignment(splits, bool(present), tuple(shares) if present else ())


def require_train(given: Sequence[str | None]) -> None:
    """Raises ProgramFailure ``no_train_split``."""
    present = {split for split in given if split}
    if present and "train" not in present and None not in given:
        raise ProgramFailure(
            "no_train_split",
            f"The upload has a part for {' and '.join(sorted(present))}, but none for training.",
            hint='Add the training part, in a folder or file called "train".',
        )


def carve(labels: Sequence[str], keys: Sequence[str], shares: dict[str, float], seed: int) -> dict[int, str]:
    """{item number: split} for the items that leave train, `shares` being the part of all items each split gets."""
    strata: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    home: dict[str, str] = {}
    for label, key in zip(labels, keys, strict=True):
        home[key] = min(label, home.get(key, label))
    for number, key in enumerate(keys):
        strata[home[key]][key].append(number)
    moved: dict[int, str] = {}
    for groups in strata.values():
        moved.update(carve_stratum(groups, shares, seed))
    return moved


def carve_stratum(groups: dict[str, list[int]], shares: dict[str, float], seed: int) -> dict[int, str]:
    """Fill each split up to its share with whole groups; a group that is too big for what is left stays in train."""
    order = sorted(groups, key=lambda key: hashlib.sha256(f"{seed}:{key}".encode()).digest())
    total = sum(len(group) for group in groups.values())
    room = {split: wanted_size(total, share) for split, share in shares.items()}
    while room and sum(room.values()) >= total > 0:
        room[max(room, key=room.__getitem__)] -= 1
    empty = {split for split, size in room.items() if size}
    taken: dict[str, str] = {}
    for key in order:
        size = len(groups[key])
        split = next((name for name, left in room.items() if size <= left), None)
        if split:
            taken[key] = split
            room[split] -= size
            empty.discard(split)
    for split in sorted(empty):
        rest = [key for key in order if key not in taken]
        if len(rest) > 1:
            taken[min(rest, key=lambda key: len(groups[key]))] = split
    return {number: split for key, split in taken.items() for number in groups[key]}


def wanted_size(total: int, share: float) -> int:
    """A small class still gets one item in each split, as long as train keeps one."""
    return max(1, round(total * share)) if total >= 3 else 0


def crossing_keys(keys: Sequence[str], splits: Sequence[str]) -> int:
    """How many contents stand in more than one split: only the user's own split can do that."""
    seen: dict[str, set[str]] = defaultdict(set)
    for key, split in zip(keys, splits, strict=True):
        seen[key].add(split)
    return sum(len(found) > 1 for found in seen.values())


def warn_of_split(
    items: Items, given: Sequence[str | None], result: Assignment, findings: Findings, noun: str, *, has_classes: bool
) -> None:
    """Say what was carved, what had no split, and, where items have one class each, which classes a split lacks.

    Raises ProgramFailure ``one_class`` where train has one class only.
    """
    for split in result.carved:
        count = result.splits.count(split)
        findings.add(f"{split}_carved", f"There was no {split} part; {noun} taken out of train for it: {count:,}.")
    if result.is_users and None in given:
        unclear = [number for number, split in enumerate(given) if split is None]
        message = f"{noun.capitalize()} that stood in no split and were taken for train: {len(unclear):,}."
        tell_some(unclear, items, "split_unclear", message, findings)
    if has_classes:
        warn_of_classes(items, findings)


def warn_of_classes(items: Items, findings: Findings) -> None:
    classes: dict[str, set[str]] = defaultdict(set)
    numbers: dict[str, list[int]] = defaultdict(list)
    for number, (label, split) in enumerate(zip(items.labels, items.splits, strict=True)):
        classes[split].add(label)
        numbers[label].append(number)
    if len(classes["train"]) < 2:
        raise ProgramFailure(
            "one_class",
            f"The training part has one class, {describe(sorted(classes['train']))}.",
            hint="Put at least two classes into the training part.",
        )
    for split in sorted(classes):
        if missing := sorted(numbers.keys() - classes[split], key=natural_order):
            message = f"The {split} part has none of the class {describe(missing)}."
            lacking = {name: numbers[name] for name in missing}
            tell_lacking(lacking, split, items, "class_missing_in_split", message, findings)


def count_classes(labels: Sequence[str], splits: Sequence[str]) -> list[dict[str, int | str]]:
    """Rows {"name", "count", "train", "val", "test"} in natural order of the name."""
    counts = Counter(zip(labels, splits, strict=True))
    names = sorted(set(labels), key=natural_order)
    rows = []
    for name in names:
        parts = {split: counts[name, split] for split in SPLITS}
        rows.append({"name": name, "count": sum(parts.values()), **parts})
    return rows


def natural_order(name: str) -> list[tuple[int, str]]:
    """Sort key under which class "10" comes after class "9"."""
    pieces = re.split(r"(\d+)", name)
    return [(len(piece), piece) if piece.isdigit() else (0, piece.lower()) for piece in pieces] + [(0, name)]
