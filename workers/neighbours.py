"""Why somebody may like an item, by what others took who have the same: counts of people, and those with most in
common. numpy only.

Nothing is said of fewer than five people together, so that a reason names nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

FEWEST_PEOPLE = 5
MOST_HISTORY = 50  # items of a history that are looked at for a reason
TOGETHER = 2
DIGITS = 9  # of a likeness; what differs by rounding is equal


@dataclass(frozen=True)
class Reason:
    """Of `people` who have taken all of `items`, `also` took the item that this is about."""

    items: list[int]
    people: int
    also: int


@dataclass(frozen=True)
class Neighbour:
    """Somebody who took `shared` of the items that were asked with, and `others` beside them."""

    user: int
    likeness: float
    shared: np.ndarray
    others: np.ndarray


class Takers:
    """Who took what: ``taken[starts[u]:starts[u + 1]]`` are the items of user u, each once."""

    def __init__(self, starts: np.ndarray, taken: np.ndarray, items: int) -> None:
        self._starts, self._taken = starts, taken
        self._users = len(starts) - 1
        order = np.argsort(taken, kind="stable")
        owners = np.repeat(np.arange(self._users), np.diff(starts))
        self._by_item = owners[order]
        self._item_starts = np.searchsorted(taken[order], np.arange(items + 1))

    def takers(self, item: int) -> np.ndarray:
        """The users who took an item, ascending."""
        return self._by_item[self._item_starts[item] : self._item_starts[item + 1]]

    def taken(self, user: int) -> np.ndarray:
        return self._taken[self._starts[user] : self._starts[user + 1]]

    def reason(self, item: int, history: np.ndarray) -> Reason | None:
        """What of the history goes best with the item: of the items that more of its takers have than chance would
        give, those that stand out most by (n - e) / √e, n being how many took both and e how many were expected."""
        has_taken = np.zeros(self._users, dtype=bool)
        has_taken[self.takers(item)] = True
        share = has_taken.mean()
        found = []
        for own in history[-MOST_HISTORY:].tolist():
            takers = self.takers(own)
            both, expected = int(has_taken[takers].sum()), share * len(takers)
            if both >= FEWEST_PEOPLE and both > expected:
                found.append(((both - expected) / max(expected, 1e-9) ** 0.5, own))
        best = [own for _strength, own in sorted(found, key=lambda each: (-each[0], each[1]))]
        return self._together(best[:TOGETHER], has_taken) or self._together(best[:1], has_taken)

    def _together(self, items: Sequence[int], has_taken: np.ndarray) -> Reason | None:
        if not items:
            return None
        people = self.takers(items[0])
        for item in items[1:]:
            people = np.intersect1d(people, self.takers(item), assume_unique=True)
        also = int(has_taken[people].sum())
        return Reason(list(items), len(people), also) if also >= FEWEST_PEOPLE else None

    def neighbours(self, history: np.ndarray, most: int, without: int = -1) -> list[Neighbour]:
        """Of the people who have something beside a history, those with most in common with it, by the cosine of what
        both took where a rare item counts more than one that all have: by w = ln(users / takers). `without` is the user
        who is asked for."""
        if not len(history):
            return []
        weights = np.log(self._users / np.maximum(np.diff(self._item_starts), 1)) ** 2
        products = np.zeros(self._users)
        for item in history.tolist():
            products[self.takers(item)] += weights[item]
        summed = np.append(0.0, np.cumsum(weights[self._taken]))
        lengths = np.sqrt(summed[self._starts[1:]] - summed[self._starts[:-1]])
        likeness = np.round(products / np.maximum(lengths * np.sqrt(weights[history].sum()), 1e-9), DIGITS)
        if without >= 0:
            likeness[without] = 0
        order = np.argsort(-likeness, kind="stable").tolist()
        found = (self._neighbour(user, float(likeness[user]), history) for user in order if likeness[user] > 0)
        return list(islice((each for each in found if len(each.others)), most))

    def _neighbour(self, user: int, likeness: float, history: np.ndarray) -> Neighbour:
        own = self.taken(user)
        is_shared = np.isin(own, history)
        return Neighbour(user, likeness, own[is_shared], own[~is_shared])
