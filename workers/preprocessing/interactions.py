"""What stands in a table of who took what that people should know before they train. Pure but for reading data.csv."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from workers.interactions import FEWEST_TO_SPLIT, Roles, find_roles, number_values, read_moments, split_interactions
from workers.preprocessing.columns import parse_number, shorten
from workers.preprocessing.findings import Findings
from workers.preprocessing.report import describe
from workers.preprocessing.splitting import Assignment, require_train
from workers.preprocessing.targets import USUAL_NAMES

MOST_OTHER_COLUMNS = 3
LOOKED_AT = 20_000
MOST_DIFFERENT = 0.95  # a column in which nearly every row has its own value says nothing about who takes what again
FEW_OF_A_USER, FEW_OF_AN_ITEM = FEWEST_TO_SPLIT, 3
MANY = 0.2  # a share of users or items that is worth a warning
SCALE_VALUES, SCALE_SHARE = 21, 0.99
POPULAR_ITEMS, POPULAR_SHARE = 0.01, 0.5
SPARSE = 1e-4


def suggest_roles(header: Sequence[str], wanted: str | None, rows: Iterable[Sequence[str]]) -> Roles | None:
    """The roles of the columns where the table is one of users and items: by the names, by what is to be predicted, and
    by the first `rows`, in which users and items come again."""
    roles = find_roles(header)
    if roles is None or wanted not in (None, roles.rating, roles.item):
        return None
    others = [name for name in header if name not in roles.to_dict().values()]
    if len(others) > MOST_OTHER_COLUMNS or any(name.lower() in USUAL_NAMES for name in others):
        return None
    places = [header.index(roles.user), header.index(roles.item)]
    pairs = [(row[places[0]].strip(), row[places[1]].strip()) for row in islice(rows, LOOKED_AT)]
    if not pairs or any(len(set(side)) > MOST_DIFFERENT * len(pairs) for side in zip(*pairs, strict=True)):
        return None
    return roles


@dataclass(frozen=True)
class Interactions:
    """The columns of all sound rows, [N] each; None where the table has none of the kind."""

    roles: Roles
    users: list[str]
    items: list[str]
    ratings: list[str] | None
    times: list[str] | None
    names: list[str] | None

    @cached_property
    def moments(self) -> np.ndarray | None:
        return None if self.times is None else read_moments(self.times)

    @cached_property
    def known(self) -> np.ndarray:
        """The rows that have a user and an item."""
        return np.flatnonzero([bool(user) and bool(item) for user, item in zip(self.users, self.items, strict=True)])

    @cached_property
    def numbers(self) -> tuple[np.ndarray, np.ndarray]:
        """Which user and which item, for the rows that have both."""
        return tuple(number_values([side[row] for row in self.known])[0] for side in (self.users, self.items))

    @cached_property
    def counts(self) -> tuple[np.ndarray, np.ndarray]:
        """How many rows each user and each item has."""
        return tuple(np.bincount(numbers) if len(numbers) else np.zeros(0, dtype=int) for numbers in self.numbers)

    @cached_property
    def pairs(self) -> int:
        """How many different pairs of a user and an item there are."""
        users, items = self.numbers
        return len(np.unique(users * max(1, len(self.counts[1])) + items))

    @cached_property
    def density(self) -> float:
        """The share of all possible pairs that is known."""
        possible = len(self.counts[0]) * len(self.counts[1])
        return self.pairs / possible if possible else 0.0


def read_interactions(path: Path, roles: Roles) -> Interactions:
    """Of data.csv, which holds the sound rows."""
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        header = next(reader)
        wanted = {field: header.index(name) for field, name in roles.to_dict().items() if name}
        columns: dict[str, list[str]] = {field: [] for field in wanted}
        for row in reader:
            for field, place in wanted.items():
                columns[field].append(row[place])
    return Interactions(
        roles, columns["user"], columns["item"], columns.get("rating"), columns.get("time"), columns.get("name")
    )


def split_by_user(
    found: Interactions, given: Sequence[str | None], fractions: Sequence[float], seed: int
) -> Assignment:
    """The user's own split where there is one, what it lacks and everything else as `split_interactions` says. Raises
    ProgramFailure ``no_train_split``."""
    wished = dict(zip(("val", "test"), fractions[1:], strict=True))
    present = {split for split in given if split}
    shares = {split: share for split, share in wished.items() if split not in present}
    require_train(given)
    splits = np.array([split or "train" for split in given], dtype="<U5")
    open_ = np.flatnonzero(splits == "train")
    moments = None if found.moments is None else found.moments[open_]
    users, items = ([side[row] for row in open_] for side in (found.users, found.items))
    splits[open_] = split_interactions(users, items, moments, shares, seed)
    return Assignment(splits.tolist(), bool(present), tuple(shares) if present else ())


def describe_interactions(found: Interactions) -> dict[str, Any]:
    """For people and for the launch form."""
    users, items = found.counts
    return {
        **found.roles.to_dict(),
        "users": len(users),
        "items": len(items),
        "pairs": found.pairs,
        "density": found.density,
        "median_of_a_user": int(np.median(users)) if len(users) else 0,
        "median_of_an_item": int(np.median(items)) if len(items) else 0,
        "popular_share": round(popular_share(items), 4),
    }


def popular_share(counts: np.ndarray) -> float:
    """The share of all rows that the most popular hundredth of the items has, one item at least."""
    most = max(1, round(len(counts) * POPULAR_ITEMS))
    return float(np.sort(counts)[::-1][:most].sum() / max(1, counts.sum()))


def warn_of_interactions(found: Interactions, splits: Sequence[str], findings: Findings) -> None:
    """What makes recommendations worse, or their figures better than they are."""
    if lacking := len(found.users) - len(found.known):
        findings.add("missing_user_or_item", f"Rows without a user or an item, which are left out: {lacking:,}.")
    _warn_of_counts(found, findings)
    _warn_of_pairs(found, splits, findings)
    if found.ratings is not None:
        _warn_of_ratings(found.ratings, found.roles, findings)
    if found.moments is not None and (unread := int(np.isnan(found.moments).sum())):
        shown = next(value for value, moment in zip(found.times, found.moments, strict=True) if np.isnan(moment))
        findings.add(
            "unreadable_times",
            f'Rows whose time in "{found.roles.time}" cannot be read and counts as the earliest: {unread:,}, '
            f'such as "{shorten(shown, 40)}".',
            cost="What somebody took last is tested; with wrong times it is something else.",
        )
    _warn_of_names(found, findings)


def _warn_of_counts(found: Interactions, findings: Findings) -> None:
    users, items = found.counts
    few_users, few_items = int((users < FEW_OF_A_USER).sum()), int((items < FEW_OF_AN_ITEM).sum())
    if few_users > MANY * len(users):
        findings.add(
            "short_histories",
            f"Users with fewer than {FEW_OF_A_USER} rows: {few_users:,} of {len(users):,}. Nothing of theirs can be "
            "kept for the test, and little is known of them.",
        )
    if few_items > MANY * len(items):
        findings.add(
            "rare_items",
            f"Items with fewer than {FEW_OF_AN_ITEM} rows: {few_items:,} of {len(items):,}. They will hardly be "
            "recommended.",
        )
    share = popular_share(items)
    if share > POPULAR_SHARE and len(items) >= 1 / POPULAR_ITEMS:
        findings.add(
            "popular_items",
            f"The most popular hundredth of the items has {share * 100:.0f} % of all rows. Look at the coverage of a "
            "model, and compare it with popularity.",
        )
    if 0 < found.density < SPARSE:
        findings.add(
            "sparse_interactions",
            f"Of all pairs of a user and an item {found.density * 100:.4f} % are known. Recommendations will lean on "
            "what is popular.",
        )


def _warn_of_pairs(found: Interactions, splits: Sequence[str], findings: Findings) -> None:
    users, items = found.numbers
    if repeated := len(users) - found.pairs:
        meaning = "of each the last rating counts" if found.roles.rating else "each counts as a further event"
        findings.add(
            "repeated_interactions", f"Rows that repeat the user and the item of another: {repeated:,}; {meaning}."
        )
    sides: dict[tuple[int, int], str] = {}
    crossing = set()
    for row, pair in zip(found.known, zip(users.tolist(), items.tolist(), strict=True), strict=True):
        if sides.setdefault(pair, splits[row]) != splits[row]:
            crossing.add(pair)
    if crossing:
        findings.add(
            "interactions_across_splits",
            f"Users and items that stand together in more than one of train, val and test: {len(crossing):,}. "
            "They count in the first of these alone.",
        )


def _warn_of_ratings(ratings: Sequence[str], roles: Roles, findings: Findings) -> None:
    counts = Counter(ratings)
    numbers: dict[float, int] = {}
    words = 0
    for value, count in counts.items():
        number = parse_number(value)
        if number is None:
            words += count if value else 0
        else:
            numbers[number] = numbers.get(number, 0) + count
    if words:
        shown = next(value for value in counts if value and parse_number(value) is None)
        findings.add(
            "ratings_no_numbers",
            f'Ratings in "{roles.rating}" that are no numbers: {words:,}, such as "{shorten(shown, 40)}". '
            "These rows are left out.",
        )
    if len(numbers) == 1:
        findings.add(
            "ratings_constant",
            f'All ratings in "{roles.rating}" are {next(iter(numbers)):g}, so each row counts as an event.',
        )
    elif strange := outside_scale(numbers):
        (low, high), values = strange
        rows = sum(numbers[value] for value in values)
        findings.add(
            "ratings_out_of_scale",
            f"Nearly all ratings are from {low:g} to {high:g}, and {rows:,} are not: "
            f"{describe([f'{value:g}' for value in values])}. One such number spoils the errors of a whole model.",
        )
    elif len(numbers) > SCALE_VALUES and max(numbers) > 10 * max(1.0, _median(numbers)):
        findings.add(
            "ratings_are_counts",
            f'"{roles.rating}" reaches from {min(numbers):g} to {max(numbers):g}, with {_median(numbers):g} in the '
            "middle: these look like counts and not like ratings. Train with no rating column.",
        )


def outside_scale(numbers: Mapping[float, int]) -> tuple[tuple[float, float], list[float]] | None:
    """The scale that nearly all ratings keep to, and the numbers beyond it; None where there are none."""
    total = sum(numbers.values())
    common = [value for value, count in numbers.items() if count >= total * (1 - SCALE_SHARE)]
    if not 2 <= len(common) <= SCALE_VALUES or sum(numbers[value] for value in common) < SCALE_SHARE * total:
        return None
    low, high = min(common), max(common)
    room = (high - low) / (len(common) - 1)  # a rare end of the scale, such as half a star, lies a step away
    beyond = sorted(value for value in numbers if not low - room <= value <= high + room)
    return ((low, high), beyond) if beyond else None


def _median(numbers: Mapping[float, int]) -> float:
    values = sorted(numbers)
    ends = np.cumsum([numbers[value] for value in values])
    return values[int(np.searchsorted(ends, ends[-1] / 2))]


def _warn_of_names(found: Interactions, findings: Findings) -> None:
    if found.names is None:
        return
    known: dict[str, str] = {}
    torn: dict[str, str] = {}
    for item, name in zip(found.items, found.names, strict=True):
        if item and name and known.setdefault(item, name) != name:
            torn.setdefault(item, name)
    if torn:
        item, other = next(iter(torn.items()))
        findings.add(
            "several_names",
            f'Items with several names: {len(torn):,}, such as "{shorten(item, 40)}" '
            f'("{shorten(known[item], 40)}" and "{shorten(other, 40)}"). The first is shown.',
        )
