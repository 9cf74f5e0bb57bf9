"""What a job left behind as its page shows it: figures, confusion matrix, worst mistakes, before and after. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from apps.registry.figures import Figure, figures

SHADES = 10
MAX_CLASSES_AS_TABLE = 40
MOST_CONFUSED = 5


@dataclass(frozen=True)
class Cell:
    """`share` of its row; `shade` in 0..9 chooses the colour."""

    count: int
    share: float
    shade: int
    is_right: bool


@dataclass(frozen=True)
class ConfusionRow:
    name: str
    cells: list[Cell]
    total: int
    recall: float


@dataclass(frozen=True)
class Confusion:
    """Rows are true classes, columns predicted ones. `most` are the most frequent mix-ups: (count, true, said)."""

    classes: Sequence[str]
    rows: list[ConfusionRow]
    most: list[tuple[int, str, str]]

    @property
    def is_table(self) -> bool:
        return len(self.classes) <= MAX_CLASSES_AS_TABLE


@dataclass(frozen=True)
class Results:
    test: list[Figure]
    validation: list[Figure]
    confusion: Confusion | None = None
    mistakes: Sequence[Mapping[str, Any]] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


def read(result: Mapping[str, Any], outputs: Mapping[str, Any]) -> Results:
    """`result` is the program's result.json; pictures that are not among `outputs` are left out."""
    metrics = result.get("metrics", {})
    matrix = result.get("confusion")
    return Results(
        test=figures(metrics.get("test")),
        validation=figures(metrics.get("val")),
        confusion=confusion(matrix["classes"], matrix["matrix"]) if matrix else None,
        mistakes=[item for item in result.get("mistakes", []) if item.get("file", "") in outputs or "row" in item],
    )


def confusion(classes: Sequence[str], matrix: Sequence[Sequence[int]]) -> Confusion:
    rows = [_row(classes[place], place, counts) for place, counts in enumerate(matrix)]
    wrong = [
        (count, classes[truth], classes[said])
        for truth, counts in enumerate(matrix)
        for said, count in enumerate(counts)
        if count and truth != said
    ]
    return Confusion(classes, rows, sorted(wrong, key=lambda item: -item[0])[:MOST_CONFUSED])


def _row(name: str, place: int, counts: Sequence[int]) -> ConfusionRow:
    total = sum(counts)
    cells = []
    for column, count in enumerate(counts):
        share = count / total if total else 0.0
        # Anything that occurs at all is visible: the lightest shade but one.
        shade = min(SHADES - 1, max(1, round(share * (SHADES - 1)))) if count else 0
        cells.append(Cell(count, share, shade, column == place))
    return ConfusionRow(name, cells, total, cells[place].share if place < len(cells) else 0.0)
