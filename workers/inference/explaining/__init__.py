"""Why a model answered as it did: a module for each thing that models are asked with (`Task.explainer`).

All of them only ask the model again, about changed inputs, and so work for every model that predicts, compressed ones
and trees included. What that costs is bounded: so many questions at most, and `SECONDS` in all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from workers.contract import ProgramFailure

if TYPE_CHECKING:
    from workers.inference.predictor import Predictor

SECONDS = 20.0
ITEMS_AT_ONCE = 32


@dataclass
class Asking:
    """Asks a model about many items, for the number that is explained: the probability of class `place`, or the value.

    `clock` gives seconds; `asked` counts the items.
    """

    predict: Callable[[Sequence[Any]], Any]
    place: int | None
    clock: Callable[[], float] = time.monotonic
    seconds: float = SECONDS
    asked: int = 0
    began: float = field(init=False)

    def __post_init__(self) -> None:
        self.began = self.clock()

    def scores(self, items: Sequence[Any]) -> np.ndarray:
        """float64 [N]. Raises ProgramFailure explanation_too_slow."""
        parts = []
        for start in range(0, len(items), ITEMS_AT_ONCE):
            if self.clock() - self.began > self.seconds:
                raise too_slow(self.seconds)
            some = items[start : start + ITEMS_AT_ONCE]
            parts.append(self._number(np.asarray(self.predict(some), dtype=np.float64)))
            self.asked += len(some)
        return np.concatenate(parts) if parts else np.zeros(0)

    def _number(self, outputs: np.ndarray) -> np.ndarray:
        return outputs if self.place is None else outputs[:, self.place]


class Explainer(Protocol):
    """The function of a module of this package."""

    def explain(self, predictor: Predictor, item: Any, asking: Asking) -> dict[str, Any]:
        """What of `item` the answer comes from; "method" names how that was found. Raises ProgramFailure."""


def too_slow(seconds: float) -> ProgramFailure:
    message = f"This model is too slow to be explained within {seconds:.0f} seconds."
    return ProgramFailure(
        "explanation_too_slow", message, hint="Try a shorter input, or a compressed version.", blame="settings"
    )
