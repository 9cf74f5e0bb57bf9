"""Who took what, and when: the columns of such a table by their names, and which interactions are kept for the test.

numpy and the standard library only; the check of an upload and the training share it, so that both split alike.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from workers.tables.cells import DATE_FORMATS, find_date_format, is_missing

NO_COLUMN = "-"  # as a setting: the table has such a column, and it is not to be read
FEWEST_TO_SPLIT = 3  # of a user's items: one each for training, validation and test

ID = r"( ?(id|key|number|no|code|uuid))?"
PEOPLE = (
    "user|customer|member|visitor|client|buyer|shopper|reader|listener|viewer|reviewer|account|person|player|profile"
)
THINGS = (
    "item|product|movie|film|book|song|track|artist|album|article|recipe|restaurant|hotel|game|anime|video|show|series"
    "|course|business|podcast|app|listing|offer|content|document|page|joke|paper"
)
USER = re.compile(rf"({PEOPLE}){ID}")
ITEM = re.compile(rf"({THINGS}){ID}|sku|asin|isbn|ean")
RATING = re.compile(r"(\w+ )?ratings?|score|stars?|star rating|overall|grade|vote|preference")
TIME = re.compile(
    r"time ?stamp|time|date( time)?|datetime|ts|(event|rating|review|unix|unix review|created|rated|viewed|bought"
    r"|listened|purchase|order) ?(time|date|at|timestamp)"
)
NAME = re.compile(rf"title|name|({THINGS}) ?(title|name|label)")
CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@dataclass(frozen=True)
class Roles:
    """Which column says what; None where the table has none of the kind."""

    user: str
    item: str
    rating: str | None = None
    time: str | None = None
    name: str | None = None

    def to_dict(self) -> dict[str, str | None]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Roles:
        return cls(**{field: values.get(field) for field in cls.__dataclass_fields__})


def find_roles(header: Sequence[str]) -> Roles | None:
    """The columns by their names, the first of each kind; None without one of users and one of items."""
    plain = {name: " ".join(re.split(r"[\s_.-]+", CAMEL.sub(" ", name.strip()).lower())) for name in header}

    def first(pattern: re.Pattern[str], *taken: str | None) -> str | None:
        return next((name for name in header if name not in taken and pattern.fullmatch(plain[name])), None)

    user = first(USER)
    item = first(ITEM, user)
    if user is None or item is None:
        return None
    rating = first(RATING, user, item)
    return Roles(user, item, rating, first(TIME, user, item, rating), first(NAME, user, item, rating))


def read_moments(values: Sequence[str]) -> np.ndarray:
    """float64 [N]: numbers as they are, or dates as seconds since 1970 (UTC where they name no zone), whichever most
    values are; NaN for others."""
    present = {value for value in values if not is_missing(value)}
    numbers = {value: number for value in present if (number := _number(value)) is not None}
    if 2 * len(numbers) > len(present) or not present:
        known = numbers
    else:
        sample = sorted(present)
        form = find_date_format(sample)
        forms = (form,) if form else DATE_FORMATS
        known = {value: moment for value in sample if (moment := _seconds(value, forms)) is not None}
    return np.array([known.get(value, np.nan) for value in values], dtype=np.float64)


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def _seconds(value: str, forms: Sequence[str]) -> float | None:
    for form in forms:
        try:
            moment = datetime.fromisoformat(value) if form == "iso" else datetime.strptime(value, form)
        except ValueError:
            continue
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return None


def number_values(values: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """int64 [N], which of the different values each is, and those values in the order in which they come."""
    places: dict[str, int] = {}
    numbers = np.fromiter(
        (places.setdefault(value, len(places)) for value in values), dtype=np.int64, count=len(values)
    )
    return numbers, list(places)


def split_interactions(
    users: Sequence[str], items: Sequence[str], moments: np.ndarray | None, shares: Mapping[str, float], seed: int
) -> np.ndarray:
    """ "train" or one of `shares` (val, test: the part of each user's items) for every row, [N].

    The last items of each user are for the test and those before them for validation, by the time of their first row;
    without `moments` [N] they are drawn at random. All rows of one user and one item are on one side. Users of fewer
    than three items are for training alone, and so are rows without a user or an item. It depends on the content and
    the seed, not on the order of the rows.
    """
    splits = np.full(len(users), "train", dtype="<U5")
    known = np.flatnonzero([bool(user) and bool(item) for user, item in zip(users, items, strict=True)])
    user_of, _ = number_values([users[row] for row in known])
    item_of, item_names = number_values([items[row] for row in known])
    _, first, pair_of = np.unique(user_of * max(1, len(item_names)) + item_of, return_index=True, return_inverse=True)
    when = np.zeros(len(first))
    if moments is not None:
        when = np.full(len(first), np.inf)
        np.minimum.at(when, pair_of, np.nan_to_num(moments[known], nan=-np.inf))
    draw = np.array([_draw(seed, users[known[row]], items[known[row]]) for row in first], dtype=np.uint64)
    of_pairs = _last_of_each(user_of[first], when, draw, shares)
    splits[known] = of_pairs[pair_of]
    return splits


def _draw(seed: int, user: str, item: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}\x1f{user}\x1f{item}".encode(), digest_size=8).digest())


def _last_of_each(users: np.ndarray, when: np.ndarray, draw: np.ndarray, shares: Mapping[str, float]) -> np.ndarray:
    """For each pair of a user and an item its split; the last ones of a user go to the last of `shares`."""
    order = np.lexsort((draw, when, users))
    counts = np.bincount(users) if len(users) else np.zeros(0, dtype=np.int64)
    ends = np.cumsum(counts)
    from_end = ends[users[order]] - 1 - np.arange(len(order))
    total = counts[users[order]]
    found = np.full(len(users), "train", dtype="<U5")
    taken = np.zeros(len(order), dtype=np.int64)
    for split, share in reversed(shares.items()):
        if share > 0:
            wanted = np.where(total >= FEWEST_TO_SPLIT, np.maximum(1, np.round(total * share).astype(np.int64)), 0)
            upper = np.minimum(taken + wanted, np.maximum(total - 1, 0))  # one stays for training
            found[order[(from_end >= taken) & (from_end < upper)]] = split
            taken = upper
    return found
