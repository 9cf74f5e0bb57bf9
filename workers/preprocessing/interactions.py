"""Tables of who took what: their columns, their split, and what stands in them. Pure but for reading data.csv."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from workers.interactions import Roles, find_roles, number_values, read_moments, split_interactions
from workers.preprocessing.columns import shorten
from workers.preprocessing.splitting import Assignment, require_train
from workers.preprocessing.targets import USUAL_NAMES

MOST_OTHER_COLUMNS = 3
LOOKED_AT = 20_000
MOST_DIFFERENT = 0.95  # a column in which nearly every row has its own value says nothing about who takes what again
POPULAR_ITEMS = 0.01
SHOWN = 40  # characters of a value that a finding shows


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
    def numbered(self) -> tuple[tuple[np.ndarray, list[str]], tuple[np.ndarray, list[str]]]:
        """Which user and which item, for the rows that have both, and the different ones."""
        users, items = (number_values([side[row] for row in self.known]) for side in (self.users, self.items))
        return users, items

    @property
    def numbers(self) -> tuple[np.ndarray, np.ndarray]:
        """Which user and which item, for the rows that have both."""
        return self.numbered[0][0], self.numbered[1][0]

    def shown(self, row: int) -> dict[str, Any]:
        """What a finding shows of a row."""
        columns = {"user": self.users, "item": self.items, "rating": self.ratings, "time": self.times,
                   "name": self.names}  # fmt: skip
        named = [(self.roles.to_dict()[field], values) for field, values in columns.items() if values is not None]
        return {"row": [[name, shorten(values[row], SHOWN)] for name, values in named]}

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
