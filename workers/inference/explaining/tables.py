"""Rows of a table: Shapley values against a usual row.

The usual row has the median, or the most frequent value, of each column in the training data. v(S) is what the model
answers when the columns of S have the row's own values and all others the usual ones. The contribution of a column is

    phi_i = sum over S without i of |S|! (n - |S| - 1)! / n! * (v(S + i) - v(S))

(Shapley 1953), which is the only way to share out v(all) - v(none) that is fair in Shapley's sense; the contributions
add up to that difference. Up to `EXACT` columns all S are asked about. Beyond it the sum runs over orders of the
columns that are drawn with a fixed seed, each followed by its reverse, which halves the error for what adds up
(Strumbelj and Kononenko, "Explaining prediction models and individual predictions with feature contributions", 2014).
Columns that have the usual value contribute nothing, and are not asked about.
"""

from __future__ import annotations

from itertools import combinations
from math import comb
from typing import TYPE_CHECKING, Any

import numpy as np

from workers.inference.explaining import Asking

if TYPE_CHECKING:
    from workers.inference.table_predictor import TablePredictor

EXACT = 8
MOST_ROWS = 2048
SEED = 0

Row = dict[str, Any]


def explain(predictor: TablePredictor, item: Row, asking: Asking) -> dict[str, Any]:
    """{"method", "baseline", "output", "contributions"}: what the model answers to the usual row and to this one, and
    each column's {"column", "value", "usual", "contribution"}, the largest first."""
    usual = usual_row(predictor)
    names = [name for name in usual if item.get(name) != usual[name]]
    values, baseline, output = shapley(item, usual, names, asking)
    found = dict(zip(names, values, strict=True))
    contributions = [
        {"column": name, "value": item.get(name), "usual": usual[name], "contribution": found.get(name, 0.0)}
        for name in usual
    ]
    return {
        "method": "shapley",
        "baseline": baseline,
        "output": output,
        "contributions": sorted(contributions, key=lambda each: -abs(each["contribution"])),
    }


def usual_row(predictor: TablePredictor) -> Row:
    return {column.name: column.describe()["default"] for column in predictor.encoder.columns}


def shapley(item: Row, usual: Row, names: list[str], asking: Asking) -> tuple[list[float], float, float]:
    """The contribution of each of `names`, and what the model answers with none and with all of them."""
    rest = {**item, **usual}
    baseline, output = (float(score) for score in asking.scores([rest, {**rest, **_of(item, names)}]))
    if len(names) <= EXACT:
        return _exact(item, rest, names, asking), baseline, output
    return _sampled(item, rest, names, asking, baseline), baseline, output


def _of(item: Row, names: Any) -> Row:
    return {name: item.get(name) for name in names}


def _exact(item: Row, rest: Row, names: list[str], asking: Asking) -> list[float]:
    count = len(names)
    sets = [frozenset(some) for size in range(count + 1) for some in combinations(range(count), size)]
    rows = [{**rest, **_of(item, (names[place] for place in some))} for some in sets]
    worth = dict(zip(sets, asking.scores(rows), strict=True))
    return [
        float(
            sum(
                (worth[some | {place}] - worth[some]) / (count * comb(count - 1, len(some)))
                for some in sets
                if place not in some
            )
        )
        for place in range(count)
    ]


def _sampled(item: Row, rest: Row, names: list[str], asking: Asking, baseline: float) -> list[float]:
    draws = np.random.default_rng(SEED)
    pairs = max(1, MOST_ROWS // (2 * len(names)))
    orders = [order for _ in range(pairs) for order in _and_reverse(draws.permutation(len(names)))]
    sums = np.zeros(len(names))
    for order in orders:
        row, rows = dict(rest), []
        for place in order:
            row = {**row, names[place]: item.get(names[place])}
            rows.append(row)
        sums[order] += np.diff(asking.scores(rows), prepend=baseline)
    return (sums / len(orders)).tolist()


def _and_reverse(order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return order, order[::-1]
