"""A frozen table of interactions as numbers: one entry for each user and item."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from workers.contract import SPLITS, EventWriter, ProgramFailure, TrainSpec
from workers.interactions import NO_COLUMN, Roles, find_roles, number_values, read_moments, split_interactions
from workers.recommending import LARGEST_RATING
from workers.training.recommendation.sparse import Sparse

EVENTS, RATINGS = "events", "ratings"
FEWEST_USERS = FEWEST_ITEMS = 3
SPLIT_SHARES = {"val": 0.1, "test": 0.1}
LONGEST_NAME = 200


@dataclass(frozen=True)
class Interactions:
    """`users`, `items` and `values` [N]: a rating, or how many events; `splits` has entry numbers, each in one split
    only. `names` has a name for each item, "" where there is none."""

    roles: Roles
    feedback: str
    user_ids: list[str]
    item_ids: list[str]
    names: list[str]
    users: np.ndarray
    items: np.ndarray
    values: np.ndarray
    splits: dict[str, np.ndarray]
    is_by_time: bool

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.user_ids), len(self.item_ids)

    @property
    def is_rated(self) -> bool:
        return self.feedback == RATINGS

    def rows_of(self, *splits: str) -> np.ndarray:
        return np.concatenate([self.splits[split] for split in splits])

    @cached_property
    def liked_from(self) -> float:
        """The rating from which an item counts as liked: the mean of the training ratings. Every event counts."""
        return float(self.values[self.splits["train"]].astype(np.float64).mean()) if self.is_rated else 0.0

    def liked(self, rows: np.ndarray) -> np.ndarray:
        return rows[self.values[rows] >= self.liked_from]

    def rated(self, rows: np.ndarray) -> Sparse:
        """Users by items, with what was given."""
        return Sparse.of(self.users[rows], self.items[rows], self.values[rows], self.shape)

    def preferred(self, rows: np.ndarray) -> Sparse:
        """Users by items, with how much each liked item counts."""
        rows = self.liked(rows)
        return Sparse.of(self.users[rows], self.items[rows], self.weights(self.values[rows]), self.shape)

    def weights(self, values: np.ndarray) -> np.ndarray:
        """Once for a rating that is liked, and less and less for each further event."""
        return np.ones(len(values), dtype=np.float32) if self.is_rated else 1 + np.log(np.maximum(values, 1))


def read_interactions(spec: TrainSpec, events: EventWriter) -> Interactions:
    """Raises ProgramFailure: unknown_column, no_user_column, same_column_twice, no_interactions, too_few_users,
    too_few_items, nothing_to_judge."""
    index = json.loads(Path(spec.index_path).read_text(encoding="utf-8"))
    roles = choose_roles(index, spec.hyperparameters)
    columns = _read_columns(Path(spec.data_path), roles)
    moments = read_moments(columns["time"]) if roles.time else None
    split = _settle_split(index, roles, columns, moments, spec.hyperparameters["seed"], events)
    ratings = _read_ratings(columns, roles, events)
    known = np.flatnonzero(
        [bool(user) and bool(item) for user, item in zip(columns["user"], columns["item"], strict=True)]
    )
    if ratings is not None:
        known = known[np.isfinite(ratings[known])]
    if left_out := len(columns["user"]) - len(known):
        events.log(f"{left_out:,} rows lack a user, an item or a rating and are left out.", "warning")
    if not len(known):
        raise ProgramFailure("no_interactions", "No row has both a user and an item.", hint="Choose other columns.")
    users, user_ids = number_values([columns["user"][row] for row in known])
    items, item_ids = number_values([columns["item"][row] for row in known])
    _check_counts(user_ids, item_ids, roles)
    rows, values = _merge(users, items, split[known], None if ratings is None else ratings[known],
                          None if moments is None else moments[known])  # fmt: skip
    if ratings is None and len(rows) < len(known):
        events.log(f"{len(known) - len(rows):,} events repeat an earlier one of the same user and item.")
    splits = {name: np.flatnonzero(split[known][rows] == name) for name in SPLITS}
    data = Interactions(
        roles=roles,
        feedback=EVENTS if ratings is None else RATINGS,
        user_ids=user_ids,
        item_ids=item_ids,
        names=_names(columns, known, items, len(item_ids)),
        users=users[rows],
        items=items[rows],
        values=values,
        splits=splits,
        is_by_time=moments is not None,
    )
    _check_splits(data)
    return data


def choose_roles(index: Mapping[str, Any], settings: Mapping[str, Any]) -> Roles:
    """The columns as the settings name them, else as the check of the data, or else their names, say. Raises
    ProgramFailure (unknown_column, no_user_column, same_column_twice)."""
    names = [column["name"] for column in index["columns"]]
    found = Roles.from_dict(index["interactions"]) if index.get("interactions") else find_roles(names)
    chosen: dict[str, str | None] = {}
    for field in Roles.__dataclass_fields__:
        wanted = settings[f"{field}_column"]
        chosen[field] = wanted or (getattr(found, field) if found else None)
        if wanted == NO_COLUMN:
            chosen[field] = None
        elif wanted and wanted not in names:
            message = f"The table has no column {wanted!r}."
            hint = f"It has {', '.join(names)[:200]}."
            raise ProgramFailure("unknown_column", message, hint=hint, blame="settings", field=f"{field}_column")
    for field in ("user", "item"):
        if not chosen[field]:
            message = f"It is not known which column holds the {field}s."
            hint = f"Choose one of {', '.join(names)[:200]}."
            raise ProgramFailure("no_user_column", message, hint=hint, blame="settings", field=f"{field}_column")
    return Roles(**_without_doubles(chosen, settings))


def _without_doubles(chosen: Mapping[str, str | None], settings: Mapping[str, Any]) -> dict[str, str | None]:
    """A column that was chosen for one role is not taken by itself for another."""
    kept = dict(chosen)
    for field in ("rating", "time", "name"):
        others = [kept[other] for other in kept if other != field]
        if kept[field] and kept[field] in others and not settings[f"{field}_column"]:
            kept[field] = None
    taken = [name for name in kept.values() if name]
    if twice := next((name for name in taken if taken.count(name) > 1), None):
        message = f"The column {twice!r} is chosen twice."
        hint = "Users, items, ratings, times and names need a column each."
        raise ProgramFailure("same_column_twice", message, hint=hint, blame="settings", field="item_column")
    return kept


def _read_columns(path: Path, roles: Roles) -> dict[str, list[str]]:
    wanted = {field: name for field, name in roles.to_dict().items() if name}
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        header = next(reader)
        places = [header.index(name) for name in wanted.values()]
        table = [[row[place] for place in places] for row in reader]
    return dict(zip(wanted, map(list, zip(*table, strict=True)), strict=True)) if table else {n: [] for n in wanted}


def _settle_split(
    index: Mapping[str, Any], roles: Roles, columns: Mapping[str, list[str]], moments: np.ndarray | None, seed: int,
    events: EventWriter,
) -> np.ndarray:  # fmt: skip
    """That of the check where it was made for these columns or by the user; else one of these columns."""
    checked = index.get("interactions") or {}
    is_same = all(checked.get(field) == getattr(roles, field) for field in ("user", "item", "time"))
    given = np.array(index["split"], dtype="<U5")
    if is_same or index.get("split_source") == "user":
        return given if "val" in given else _carve_validation(given, columns, moments, seed)
    how = f"by {roles.time}" if roles.time else "at random"
    events.log(f"The last or other items of each user are kept for the test, {how}: the check split other columns.")
    return split_interactions(columns["user"], columns["item"], moments, SPLIT_SHARES, seed)


def _carve_validation(
    given: np.ndarray, columns: Mapping[str, list[str]], moments: np.ndarray | None, seed: int
) -> np.ndarray:
    """Out of the training rows, where nobody has."""
    rows = np.flatnonzero(given == "train")
    users, items = ([columns[field][row] for row in rows] for field in ("user", "item"))
    when = None if moments is None else moments[rows]
    carved = given.copy()
    carved[rows] = split_interactions(users, items, when, {"val": SPLIT_SHARES["val"]}, seed)
    return carved


def _read_ratings(columns: Mapping[str, list[str]], roles: Roles, events: EventWriter) -> np.ndarray | None:
    """float64 [N] with NaN where there is none; None where they say nothing, so that each row is an event."""
    if not roles.rating:
        return None
    ratings = np.array([_number(value) for value in columns["rating"]], dtype=np.float64)
    known = ratings[np.isfinite(ratings)]
    if len(np.unique(known)) < 2:
        events.log(f'"{roles.rating}" has fewer than two different numbers; each row counts as an event.', "warning")
        return None
    return ratings


def _number(value: str) -> float:
    """NaN for what is no rating."""
    try:
        number = float(value)
    except ValueError:
        return float("nan")
    return number if abs(number) <= LARGEST_RATING else float("nan")


def _check_counts(user_ids: Sequence[str], item_ids: Sequence[str], roles: Roles) -> None:
    for ids, fewest, column, code in (
        (user_ids, FEWEST_USERS, roles.user, "too_few_users"),
        (item_ids, FEWEST_ITEMS, roles.item, "too_few_items"),
    ):
        if len(ids) < fewest:
            message = f'"{column}" has {len(ids)} different values; {fewest} are needed to recommend from.'
            raise ProgramFailure(code, message, hint="Choose another column, or add data.", blame="data")


def _merge(
    users: np.ndarray, items: np.ndarray, split: np.ndarray, ratings: np.ndarray | None, moments: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """One row for each user and item, and its value: the last rating, or the number of events. Where they stand in
    several splits the first of these counts, so that nothing of the test is known in training."""
    rank = np.select([split == name for name in SPLITS], range(len(SPLITS)), 0)
    when = np.zeros(len(users)) if moments is None else np.nan_to_num(moments, nan=-np.inf)
    order = np.lexsort((np.arange(len(users)), when, rank, items, users))
    pairs = users[order].astype(np.int64) * (int(items.max()) + 1) + items[order]
    starts = np.flatnonzero(np.diff(pairs, prepend=-1))
    is_first_split = rank[order] == np.repeat(rank[order][starts], np.diff(starts, append=len(order)))
    counts = np.add.reduceat(is_first_split, starts)
    last = order[starts + counts - 1]
    values = counts if ratings is None else ratings[last]
    return last, values.astype(np.float32)


def _names(columns: Mapping[str, list[str]], known: np.ndarray, items: np.ndarray, count: int) -> list[str]:
    """The first name that is given for each item."""
    names = [""] * count
    if "name" in columns:
        for row, item in zip(known, items, strict=True):
            names[item] = names[item] or columns["name"][row][:LONGEST_NAME]
    return names


def _check_splits(data: Interactions) -> None:
    for split, noun in (("train", "training"), ("val", "validation")):
        if not len(data.liked(data.splits[split])):
            raise ProgramFailure(
                "nothing_to_judge",
                f"No interaction is left for {noun}.",
                hint="At least some users need three different items.",
            )
