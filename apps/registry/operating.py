"""What a classifier finds, and what that costs, for the threshold at which people act."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from apps.registry.models import ModelVersion

ROWS = range(10, 100, 10)  # of the table, in hundredths


@dataclass(frozen=True)
class Row:
    """One threshold; shares between 0 and 1, None where nothing is counted. `lift` is precision over the share that is
    of the class at all. Of `positives` items of the class `found` were flagged, of `negatives` others `spared` were
    not."""

    threshold: float
    sensitivity: float
    specificity: float
    precision: float | None
    flagged: float
    lift: float | None
    positives: int
    found: int
    negatives: int
    spared: int

    @property
    def called(self) -> int:
        """How many items were flagged."""
        return self.found + self.negatives - self.spared


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


def measured_at(version: ModelVersion, name: str, threshold: float) -> Row | None:
    """What the training of `version` measured of the class `name` at `threshold`, which is in whole hundredths; None
    where it did not, or where no training made this version."""
    by_training = ModelVersion.objects.filter(pk=version.pk, produced_by__kind="train")
    entries = by_training.values_list("produced_by__result__operating", flat=True).first() or []
    entry = next((entry for entry in entries if entry["class"] == name), None)
    return row_at(entry, round(threshold * 100)) if entry else None


def row_at(entry: Mapping[str, Any], place: int) -> Row:
    """The figures at the threshold of `place` hundredths."""
    items, positives = entry["items"], entry["positives"]
    flagged, found = entry["flagged"][place], entry["found"][place]
    negatives, precision = items - positives, found / flagged if flagged else None
    return Row(
        threshold=place / 100,
        sensitivity=found / positives,
        specificity=1 - (flagged - found) / negatives,
        precision=precision,
        flagged=flagged / items,
        lift=precision * items / positives if precision is not None else None,
        positives=positives,
        found=found,
        negatives=negatives,
        spared=negatives - (flagged - found),
    )


def counts_of(found: Sequence[Operating]) -> list[Mapping[str, Any]]:
    """For the page's script."""
    return [item.counts for item in found]
