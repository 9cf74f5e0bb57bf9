"""How sure a classifier is, and how often it is right when it says so, before and after its temperature was fitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

STEP = 10  # percent: where the axis may begin
DRAWN_FROM = 5  # answers: of fewer, the share that is right is mostly luck


@dataclass(frozen=True)
class Said:
    """How many answers were given with a confidence, and the share of them that is right; None of no answers."""

    items: int
    right: float | None


@dataclass(frozen=True)
class Range:
    """Confidences from `low` to `high`, between 0 and 1."""

    low: float
    high: float
    before: Said
    after: Said


@dataclass(frozen=True)
class Calibration:
    """`before` and `after` are expected calibration errors. `chart` is for js/chart.js; it and `rows` are empty of
    results that were written before confidence was counted by ranges."""

    temperature: float
    before: float
    after: float
    rows: Sequence[Range]
    chart: Mapping[str, Any]

    @property
    def is_fitted(self) -> bool:
        return self.temperature != 1


def read_calibration(result: Mapping[str, Any]) -> Calibration | None:
    """Of what a training of a classifier wrote (workers.training.calibration)."""
    found = result.get("calibration")
    if not found:
        return None
    counted = found.get("reliability", {"before": [], "after": []})
    return Calibration(
        found["temperature"],
        found["before"],
        found["after"],
        _rows(counted["before"], counted["after"]),
        _chart(counted, found["temperature"] != 1) if counted["after"] else {},
    )


def _rows(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> list[Range]:
    """The ranges in which anything was said."""
    pairs = zip(before, after, strict=True)
    return [
        Range(place / len(after), (place + 1) / len(after), *(Said(each["items"], each["right"]) for each in pair))
        for place, pair in enumerate(pairs)
        if any(each["items"] for each in pair)
    ]


def _chart(counted: Mapping[str, Sequence[Mapping[str, Any]]], is_fitted: bool) -> dict[str, Any]:
    """Percent right over percent sure; what is sure before and after lies at places of its own."""
    lines = {name: _points(counted[name]) for name in ("after", "before")}
    x = sorted({100.0, *lines["after"], *lines["before"]})
    after = {"label": _("After fitting") if is_fitted else _("This model"), "values": _along(x, lines["after"])}
    before = {"label": _("Before"), "values": _along(x, lines["before"])}
    ideal = {"label": _("Right as often as it says"), "values": x, "isDashed": True}
    series = [after, before] if is_fitted else [after]
    lowest = min([*x, *lines["after"].values(), *lines["before"].values()])
    return {
        "x": x,
        "xLabel": _("Confidence, %"),
        "yLabel": _("Right, %"),
        "yRange": [lowest // STEP * STEP, 100],
        "series": [*({**each, "isSparse": True} for each in series), ideal],
    }


def _points(bins: Sequence[Mapping[str, Any]]) -> dict[float, float]:
    drawn = [each for each in bins if each["items"] >= DRAWN_FROM]
    return {round(100 * each["confidence"], 1): round(100 * each["right"], 1) for each in drawn}


def _along(x: Sequence[float], points: Mapping[float, float]) -> list[float | None]:
    return [points.get(place) for place in x]
