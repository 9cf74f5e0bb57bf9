"""Whether a fused model is better than each that it was made of, by what validation says. Numpy only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LEAST_GAIN = 0.003  # of what is no count but a measure: less is what other rows would have given as well


@dataclass(frozen=True)
class Measured:
    """Figures of one model; `test` is empty where there is no test split. `test_interval` holds the true figure of
    the test split (accuracy, or rmse) 95 times of 100."""

    validation: Mapping[str, float]
    test: Mapping[str, float]
    test_interval: tuple[float, float] | None
    size_bytes: int
    latency_ms: float

    def as_dict(self) -> dict[str, Any]:
        return {
            "validation": dict(self.validation),
            "test": dict(self.test),
            "test_interval": list(self.test_interval) if self.test_interval else None,
            "bytes": self.size_bytes,
            "latency_p50_ms": self.latency_ms,
        }


def score(figures: Mapping[str, float]) -> tuple[float, float]:
    """What validation says, to compare models by, more is better: accuracy and then log loss; or rmse alone."""
    if "accuracy" in figures:
        return figures["accuracy"], -figures["log_loss"]
    return -figures["rmse"], 0.0


def best_of(models: Sequence[Measured]) -> int:
    """The number of the model that does best on validation."""
    return max(range(len(models)), key=lambda number: score(models[number].validation))


def is_better(fused: Mapping[str, float], best: Mapping[str, float]) -> bool:
    """More answers are right; or as many, and their certainty fits better by a clear margin. Of numbers, the error is
    lower by a clear margin."""
    if "accuracy" not in fused:
        return fused["rmse"] < best["rmse"] * (1 - LEAST_GAIN)
    if fused["accuracy"] != best["accuracy"]:
        return fused["accuracy"] > best["accuracy"]
    return fused["log_loss"] < best["log_loss"] * (1 - LEAST_GAIN)


def describe(fused: Measured, best: Measured, name: str) -> list[str]:
    """A sentence for what it brings and one for what it costs, against the best model, called `name`."""
    ours, theirs = fused.validation, best.validation
    if "accuracy" not in ours:
        quality = f"Its root mean squared error on validation is {ours['rmse']:.4g}; {name} has {theirs['rmse']:.4g}."
    elif ours["accuracy"] != theirs["accuracy"]:
        quality = f"Its validation accuracy is {_percent(ours)}; {name} has {_percent(theirs)}."
    else:
        losses = f"its log loss is {ours['log_loss']:.4f}, where {name} has {theirs['log_loss']:.4f}"
        quality = f"Its validation accuracy is {_percent(ours)}, as that of {name}; {losses}."
    size, time = fused.size_bytes / best.size_bytes, fused.latency_ms / best.latency_ms
    costs = f"Its files are {_times(size)} large as those of {name}, and an answer takes {_times(time)} long."
    return [quality, costs]


def _times(ratio: float) -> str:
    return "as" if 0.9 <= ratio <= 1.1 else f"{ratio:.2g} times as"


def _percent(figures: Mapping[str, float]) -> str:
    return f"{figures['accuracy'] * 100:.2f} %"
