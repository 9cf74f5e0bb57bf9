"""Cut a model's layers into stages, one for each device in order, so that the slowest stage is as fast as it can be."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

Cut = tuple[tuple[int, int], ...]


def cut_layers(
    count: int,
    stages: int,
    seconds: Callable[[int, int, int], float],
    fits: Callable[[int, int, int], bool],
) -> Cut | None:
    """The (begin, end) of each stage, or None where no cut fits. Exact: a dynamic programme over stages and ends.

    `seconds(begin, end, stage)` is what a stage of these layers takes, `fits` whether its device can hold it. Each
    stage has at least one layer; of equal cuts the one with the earlier ends is taken.
    """
    seconds, fits = cache(seconds), cache(fits)
    best: dict[int, tuple[float, Cut]] = {0: (0.0, ())}
    for stage in range(stages):
        reached: dict[int, tuple[float, Cut]] = {}
        for end in range(stage + 1, count - (stages - stage - 1) + 1):
            options = [
                (max(slowest, seconds(begin, end, stage)), (*cut, (begin, end)))
                for begin, (slowest, cut) in best.items()
                if begin < end and fits(begin, end, stage)
            ]
            if options:
                reached[end] = min(options)
        best = reached
    slowest, cut = best.get(count, (math.inf, None))
    return cut
