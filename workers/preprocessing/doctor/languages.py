"""Texts that stand in the wrong one of two columns, each of which has a language of its own. Numpy only.

What a language looks like is learned from the columns themselves: how often each run of three letters comes in either
(a naive Bayes classifier over trigrams; Cavnar and Trenkle 1994 tell languages by the same runs). With p_i(r) the share
of run r in column i, smoothed, a text is as much like the first column as the mean of log p_1(r) - log p_2(r) over its
runs; its own runs are taken out of the counts before.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from workers.texts import Runs, normalise

RUN, PLACES, READ_CHARACTERS = 3, 1 << 16, 400
SMOOTHING = 0.5
FEWEST_RUNS = 12  # of shorter texts nothing is said
FEWEST_TEXTS = 100
TOLD_APART = 0.95  # the share of the texts that must look like their own column
MARGIN = 0.5  # nats a run: names that both languages have move a text less


def find_swapped(first: Sequence[str], second: Sequence[str]) -> list[int]:
    """Numbers of the pairs of which a text looks like the other column, the surest first; none where the columns cannot
    be told apart."""
    runs = [[_runs(text) for text in side] for side in (first, second)]
    counts = [np.bincount(np.concatenate([*side, _NONE]), minlength=PLACES) for side in runs]
    own = [np.array([_likeness(each, counts[side], counts[1 - side]) for each in runs[side]]) for side in (0, 1)]
    for likeness in own:
        known = likeness[~np.isnan(likeness)]
        if len(known) < FEWEST_TEXTS or (known > 0).mean() < TOLD_APART:
            return []
    worst = np.fmin(*own)
    found = np.flatnonzero(worst < -MARGIN)
    return found[np.argsort(worst[found], kind="stable")].tolist()


_NONE = np.zeros(0, dtype=np.uint16)


def _runs(text: str) -> np.ndarray:
    return (Runs(normalise(text, READ_CHARACTERS)).every(RUN) % np.uint64(PLACES)).astype(np.uint16)


def _likeness(runs: np.ndarray, own: np.ndarray, other: np.ndarray) -> float:
    """How much more a text is like its own column than like the other one, in nats a run; NaN for a short text."""
    if len(runs) < FEWEST_RUNS:
        return float("nan")
    places, times = np.unique(runs, return_counts=True)
    left = (own[places] - times + SMOOTHING) / (own.sum() - len(runs) + SMOOTHING * PLACES)
    there = (other[places] + SMOOTHING) / (other.sum() + SMOOTHING * PLACES)
    return float((np.log(left / there) * times).sum() / len(runs))
