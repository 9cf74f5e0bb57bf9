"""How many items a model should be asked at once, by measuring it: as many as cost least each and change no answer.

On a CPU a batch often costs as much as its items one after the other, or more, as what they need no longer fits the
caches; for trees over rows of a table it costs a fraction. And a library may add up numbers in another order for a
batch, so that an answer would depend on who else asks at the same time. So each model is tried before it is ready.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from workers.domains import TASKS
from workers.inference.predictor import Predictor

SIZES = (1, 2, 4, 8, 16)
REPEATS = 5
WORTH = 0.9  # of the time alone: less is saved than a batch's wait costs
BUDGET_SECONDS = 0.5

Run = Callable[[Sequence[Any]], np.ndarray]


@dataclass(frozen=True)
class Trial:
    """`seconds` for each item when `size` are asked at once; `is_same`: every answer is the one given alone, to the
    bit."""

    size: int
    seconds: float
    is_same: bool


def best_size(predictor: Predictor, clock: Callable[[], float] = time.perf_counter) -> int:
    """How many items to ask at once. 1 for models whose items differ in length."""
    task = TASKS[predictor.meta["task"]]
    match task.asks:
        case "audio" | "image" if task.is_classification:
            return choose(try_sizes(lambda arrays: predictor.run(predictor.collate(arrays)), _arrays(predictor), clock))
        case "table":
            return choose(try_sizes(predictor.predict, _rows(predictor.sample), clock))
        case _:
            return 1


def choose(trials: Sequence[Trial]) -> int:
    """The smallest size that saves a tenth at least and is within a tenth of the cheapest; 1 where none does."""
    alone = trials[0].seconds
    fitting = [trial for trial in trials[1:] if trial.is_same and trial.seconds <= alone * WORTH]
    if not fitting:
        return 1
    cheapest = min(trial.seconds for trial in fitting)
    return next(trial.size for trial in fitting if trial.seconds * WORTH <= cheapest)


def try_sizes(run: Run, items: Sequence[Any], clock: Callable[[], float] = time.perf_counter) -> list[Trial]:
    """One trial for each size, smallest first; those that would take too long are left out. There are 16 `items`."""
    alone = np.concatenate([run([item]) for item in items[: SIZES[1]]])
    ends_at = clock() + BUDGET_SECONDS
    trials: list[Trial] = []
    for size in SIZES:
        if trials and clock() + trials[-1].seconds * size > ends_at:
            break
        began = [clock()]
        for _repeat in range(REPEATS):
            found = run(items[:size])
            began.append(clock())
            if began[-1] > ends_at:
                break
        seconds = min(after - before for before, after in zip(began, began[1:], strict=False)) / size
        while len(alone) < size:
            alone = np.concatenate([alone, run([items[len(alone)]])])
        trials.append(Trial(size, seconds, bool(np.array_equal(found, alone[:size]))))
    return trials


def _arrays(predictor: Predictor) -> list[np.ndarray]:
    """The sample as the graph sees it, and noise: uint8 each."""
    sample, draw = predictor.decode(predictor.sample), np.random.default_rng(0)
    return [sample, *draw.integers(0, 256, (SIZES[-1] - 1, *sample.shape), dtype=np.uint8)]


def _rows(sample: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The sample, and the same with one column unknown in turn."""
    names = list(sample)
    return [dict(sample), *({**sample, names[number % len(names)]: None} for number in range(SIZES[-1] - 1))]
