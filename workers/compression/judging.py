"""What the figures of candidates say: which are good enough, which are better than which, and which is best. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workers.compression.recipes import LATENCY, SIZE, name_of
from workers.contract import FAILED, NO_GAIN, OVER, WITHIN

LEAST_GAIN = 1.03  # times smaller or faster; less is what another measurement would have taken back
SPEED_STEP = 1.05  # speeds that differ by less are the same
SLOWEST = 0.67  # of the original's speed: what is slower is no gain, however small it is


@dataclass(frozen=True)
class Candidate:
    """One model that was made and measured; number 0 is the original. `limit` is what it may lose, in points.

    `figures` are as `Gauge.measure` gives them, empty where it could not be made: among them "lost_validation",
    "lost_points" (the worse of validation and the judged split), and against the original "size_ratio" and
    "speed_ratio" (of the model, without decoding).
    """

    number: int
    recipe: Sequence[Mapping[str, Any]]
    figures: Mapping[str, Any]
    limit: float
    reason: str = ""
    notes: Sequence[str] = ()
    folder: str = ""

    @property
    def name(self) -> str:
        return name_of(self.recipe)

    @property
    def lost(self) -> float:
        return self.figures["lost_points"] if self.figures else math.inf

    @property
    def is_promising(self) -> bool:
        """Whether it keeps to the limit on validation. A search goes by this alone, or it would fit the test split."""
        return bool(self.figures) and self.figures["lost_validation"] <= self.limit

    @property
    def is_within(self) -> bool:
        return self.lost <= self.limit

    @property
    def verdict(self) -> str:
        if not self.figures:
            return FAILED
        if not self.is_within:
            return OVER
        if self.number == 0:
            return WITHIN
        size, speed = self.figures["size_ratio"], self.figures["speed_ratio"]
        has_gain = max(size, speed) >= LEAST_GAIN and speed >= SLOWEST
        return WITHIN if has_gain else NO_GAIN

    def as_event(self) -> dict[str, Any]:
        """The facts of its ``candidate`` event, beside the number."""
        return {
            "name": self.name,
            "recipe": [dict(step) for step in self.recipe],
            "folder": self.folder,
            "figures": dict(self.figures),
            "verdict": self.verdict,
            "reason": self.reason or self._sentence(),
            "notes": list(self.notes),
        }

    def _sentence(self) -> str:
        if self.number == 0:
            return "The model as it was trained."
        if self.verdict == OVER:
            return f"It loses {self.lost:.2f} points, and {self.limit:g} may be lost."
        if self.verdict == NO_GAIN:
            return "It is neither smaller nor faster by an amount that matters, or much slower."
        return ""


def front_of(candidates: Sequence[Candidate]) -> list[int]:
    """The numbers of those that no other beats: one is beaten by another that loses no more, is no larger and no
    slower, and better in one of these. The original competes."""
    measured = [candidate for candidate in candidates if candidate.figures]
    return [one.number for one in measured if not any(_beats(other, one) for other in measured)]


def _beats(other: Candidate, one: Candidate) -> bool:
    pairs = list(zip(_costs(other), _costs(one), strict=True))
    return all(left <= right for left, right in pairs) and any(left < right for left, right in pairs)


def _costs(candidate: Candidate) -> tuple[float, int, int]:
    figures = candidate.figures
    return max(0.0, candidate.lost), figures["bytes"], -round(math.log(figures["speed_ratio"], SPEED_STEP))


def best_of(candidates: Sequence[Candidate], favour: str) -> Candidate | None:
    """The best that is within the limit and a gain; None where the original stays the best."""
    good = [candidate for candidate in candidates if candidate.number and candidate.verdict == WITHIN]
    return max(good, key=lambda candidate: _gain(candidate, favour), default=None)


def _gain(candidate: Candidate, favour: str) -> tuple[float, float]:
    """How much smaller or faster, or the product of both; then how little is lost."""
    size, speed = candidate.figures["size_ratio"], candidate.figures["speed_ratio"]
    gain = size if favour == SIZE else speed if favour == LATENCY else size * speed
    return round(gain, 2), -candidate.lost


def lost_points(before: Mapping[str, float], after: Mapping[str, float]) -> float:
    """Points of accuracy lost, or by how many per cent the error of a regression has grown; negative is a gain."""
    if "accuracy" in before:
        return round(100 * (before["accuracy"] - after["accuracy"]), 4)
    return round(100 * (after["rmse"] / before["rmse"] - 1), 4) if before["rmse"] else 0.0


def headline(quality: Mapping[str, float]) -> tuple[str, float]:
    """The figure a model is judged by: accuracy, or rmse, where less is better."""
    name = "accuracy" if "accuracy" in quality else "rmse"
    return name, quality[name]


def describe(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """A sentence each for the quality, the size and the speed of `after` against `before`."""
    name, old = headline(before["metrics"])
    _name, new = headline(after["metrics"])
    if name == "accuracy":
        quality = f"Accuracy went from {old * 100:.1f} % to {new * 100:.1f} %."
    else:
        quality = f"The root mean squared error went from {old:.4g} to {new:.4g}."
    size = f"The files are {_times(after['size_ratio'], 'smaller', 'larger')}."
    speed = f"The model is {_times(after['speed_ratio'], 'faster', 'slower')}."
    return [quality, size, speed]


def _times(ratio: float, better: str, worse: str) -> str:
    if 0.95 <= ratio <= 1.05:
        return "as " + {"smaller": "large", "faster": "fast"}[better] + " as before"
    return f"{ratio:.2g} times {better}" if ratio > 1 else f"{1 / ratio:.2g} times {worse}"
