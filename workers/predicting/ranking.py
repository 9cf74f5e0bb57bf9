"""A list of those to turn to first: the rows ordered by how probable a class is for them, of which the first are kept.

All rows lie on disk. In memory a row takes some dozen bytes, its score and where it lies, so that a list of many
millions can be ordered. It is made of the answers alone, so an interruption costs at most the writing of it.
"""

from __future__ import annotations

import csv
import math
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from workers.predicting.kinds import TARGETS_FILE
from workers.predicting.parts import Parts, Record
from workers.predicting.writing import Columns, probabilities_of
from workers.spreadsheets import harmless

DIGITS = 4


@dataclass(frozen=True)
class Wish:
    """Rows are ordered by the probability of the class `by`, or by the value where the model has no classes, highest
    first; the first `top` per cent are kept."""

    by: str
    top: float

    def score(self, answer: dict[str, Any] | None) -> float:
        """NaN where there is no answer."""
        if answer is None:
            return math.nan
        return answer["value"] if "value" in answer else probabilities_of(answer).get(self.by, 0.0)


def write_targets(
    parts: Parts, wish: Wish, columns: Columns, output: Path, tell: Callable[[int], None]
) -> dict[str, Any]:
    """Write the list and return what a page says of it. `lift` is a row's score beside the mean of all: how many times
    as likely it is as one taken at random. `tell` is told how many rows are read, and may raise to stop."""
    scores, truths = _read_scores(parts, wish, tell)
    order = np.argsort(-scores, kind="stable")  # of equal ones the first in the file; those without an answer come last
    answered = int(np.isfinite(scores).sum())
    chosen = order[: math.ceil(answered * wish.top / 100)]
    mean = float(np.mean(scores[order[:answered]])) if answered else 0.0
    with open(output / TARGETS_FILE, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([harmless(name) for name in columns.target_header])
        for rank, record in enumerate(parts.at(chosen), 1):
            score = float(scores[chosen[rank - 1]])
            writer.writerow([rank, *_given(columns, record), score, _lift(score, mean)])
            if rank % 1000 == 0:
                tell(rank)
    return _summary(wish, scores, truths, order[:answered], len(chosen), mean)


def _given(columns: Columns, record: Record) -> Iterator[Any]:
    cells = (record["cells"].get(name, "") for name in columns.given)
    return (harmless(cell) if isinstance(cell, str) else cell for cell in cells)


def _lift(score: float, mean: float) -> float | str:
    return round(score / mean, DIGITS) if mean > 0 else ""


def _read_scores(parts: Parts, wish: Wish, tell: Callable[[int], None]) -> tuple[np.ndarray, np.ndarray]:
    """float64 [rows] scores, and int8 [rows] whether a row is of the class: 1, 0, or -1 where that is not known."""
    scores, truths = array("d"), array("b")
    for number, record in enumerate(parts.records(), 1):
        scores.append(wish.score(record["answer"]))
        truths.append(-1 if record["truth"] is None else int(record["truth"] == wish.by))
        if number % 1000 == 0:
            tell(number)
    return np.array(scores), np.array(truths)


def _summary(
    wish: Wish, scores: np.ndarray, truths: np.ndarray, order: np.ndarray, chosen: int, mean: float
) -> dict[str, Any]:
    """{"by", "top", "rows", "of", "least", "lift", "share"}, and "found", "positives" and "found_lift" where the right
    answers are known. "share" is the part of all that can be expected which the list reaches."""
    first = scores[order[:chosen]]
    total = float(scores[order].sum())
    told = {
        "by": wish.by,
        "top": wish.top,
        "rows": chosen,
        "of": len(order),
        "least": float(first[-1]) if chosen else 0.0,
        "lift": float(first.mean()) / mean if chosen and mean > 0 else None,
        "share": float(first.sum()) / total if total > 0 else None,
    }
    known = truths[order] >= 0
    positives = int((truths[order] == 1).sum())
    if known.all() and positives and chosen:
        found = int((truths[order[:chosen]] == 1).sum())
        told |= {"found": found, "positives": positives}
        told["found_lift"] = found / chosen / (positives / len(order))
    return told
