"""What a model of several labels says of each of them, as a table. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

COLUMNS = ("average_precision", "auc", "precision", "recall", "f1", "threshold")


@dataclass(frozen=True)
class LabelRow:
    """One label, on how many images it is, and its figures as texts in the order of `COLUMNS`."""

    name: str
    count: int
    texts: list[str]


def label_rows(found: Sequence[Mapping[str, Any]]) -> list[LabelRow]:
    """What a training wrote of each label."""
    return [LabelRow(item["name"], item["count"], [_text(item[name]) for name in COLUMNS]) for item in found]


def _text(value: float | None) -> str:
    return "–" if value is None else f"{value * 100:.1f} %"
