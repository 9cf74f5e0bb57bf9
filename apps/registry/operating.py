"""What a classifier finds, and what that costs, for the threshold at which people act."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ROWS = range(10, 100, 10)  # of the table, in hundredths


@dataclass(frozen=True)
class Row:
    """One threshold; shares between 0 and 1, None where nothing is counted. `lift` is precision over the share that is
    of the class at all."""

    threshold: float
    sensitivity: float
    specificity: float
    precision: float | None
    flagged: float
    lift: float | None


@dataclass(frozen=True)
class Operating:
    """One class, its rows for the table, and its counts for the page's own reckoning."""

    name: str
    items: int
    positives: int
    rows: list[Row]
    counts: Mapping[str, Any]


def read_operating(result: Mapping[str, Any]) -> list[Operating]:
    """Of what a training wrote (workers.training.operating); the rarest class first, which is what people look for."""
    found = sorted(result.get("operating", []), key=lambda entry: entry["positives"])
    return [
        Operating(
            entry["class"],
            entry["items"],
            entry["positives"],
            [row_at(entry, place) for place in ROWS],
            {name: entry[name] for name in ("class", "items", "positives", "flagged", "found")},
        )
        for entry in found
    ]


def row_at(entry: Mapping[str, Any], place: int) -> Row:
    """The figures at the threshold of `place` hundredths."""
    items, positives = entry["items"], entry["positives"]
    flagged, found = entry["flagged"][place], entry["found"][place]
    precision = found / flagged if flagged else None
    return Row(
        threshold=place / 100,
        sensitivity=found / positives,
        specificity=1 - (flagged - found) / (items - positives),
        precision=precision,
        flagged=flagged / items,
        lift=precision * items / positives if precision is not None else None,
    )


def counts_of(found: Sequence[Operating]) -> list[Mapping[str, Any]]:
    """For the page's script."""
    return [item.counts for item in found]
