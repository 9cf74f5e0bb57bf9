"""Which rows are for training, validation and test: the last part of time is the test, that before it validation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def cut_times(ticks: np.ndarray, fractions: Sequence[float]) -> tuple[float, float]:
    """(first tick of validation, first tick of test), such that about these shares of the different times are train,
    val and test; infinite where a share is 0."""
    times = np.unique(ticks[~np.isnan(ticks)])
    _train, val, test = fractions
    tested = _count(len(times), test)
    validated = _count(len(times) - tested, val / max(1e-9, 1 - test))
    from_test = times[len(times) - tested] if tested else np.inf
    from_val = times[len(times) - tested - validated] if validated else from_test
    return float(from_val), float(from_test)


def _count(times: int, share: float) -> int:
    """At least one where any is wanted, and one is left over."""
    return min(max(1, round(times * share)), max(0, times - 1)) if share > 0 else 0


def split_by_time(ticks: np.ndarray, fractions: Sequence[float]) -> np.ndarray:
    """ "train", "val" or "test" for every row, [N]; rows without a time are for training."""
    from_val, from_test = cut_times(ticks, fractions)
    known = np.nan_to_num(ticks, nan=-np.inf)
    return np.select([known >= from_test, known >= from_val], ["test", "val"], "train").astype("<U5")


def is_by_time(ticks: np.ndarray, splits: Sequence[str]) -> bool:
    """Whether nothing of a later part lies before the end of an earlier one."""
    found = np.asarray(splits)
    last = -np.inf
    for split in ("train", "val", "test"):
        times = ticks[(found == split) & ~np.isnan(ticks)]
        if len(times):
            if times.min() < last:
                return False
            last = float(times.max())
    return True
