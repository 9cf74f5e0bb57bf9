"""Numbers in pieces, so that what a linear model makes of each of them can bend.

Between the knots of a feature lie its pieces, and a value fills those below it: each piece is a column that rises from
0 at its lower knot to 1 at its upper one, and is level outside (piecewise linear encoding: Gorishniy et al. 2022, "On
Embeddings for Numerical Features in Tabular Deep Learning"). A linear model of these columns is an additive one (Hastie
and Tibshirani 1986): a broken line for each feature, and a step for each value where there are few.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from workers.trees import Arrays

PIECES = 8
# The prior of a curve is a random walk: the more pieces it has, the less each of them rises.
RISE = 2.0
PREFIX = "piece_"
SHORTEST = 1e-9  # of standardised values: no division by less


@dataclass(frozen=True)
class Pieces:
    """Of piece m: the number of its `feature`, its lower knot `start` and its `length`, and `rise`, the height to which
    the column goes. int64 [M] and float32 [M]."""

    feature: np.ndarray
    start: np.ndarray
    length: np.ndarray
    rise: np.ndarray

    @classmethod
    def of(cls, numeric: np.ndarray) -> Pieces:
        """For features [N, F] with NaN where missing. What has two values or fewer is a straight line already."""
        knots = [find_knots(feature[~np.isnan(feature)]) for feature in numeric.T]
        bent = [(number, each) for number, each in enumerate(knots) if len(each) > 2]
        counts = np.array([len(each) - 1 for _, each in bent], dtype=np.int64)
        return cls(
            np.repeat(np.array([number for number, _ in bent], dtype=np.int64), counts),
            _joined([each[:-1] for _, each in bent]),
            _joined([np.diff(each) for _, each in bent]),
            np.repeat(RISE / np.sqrt(counts), counts).astype(np.float32),
        )

    def columns(self, numeric: np.ndarray) -> np.ndarray:
        """float32 [N, M]; a missing value counts as 0, which is the middle one of a standardised feature."""
        filled = (np.nan_to_num(numeric)[:, self.feature] - self.start) / self.length
        return np.clip(filled, 0, 1) * self.rise

    def to_arrays(self) -> Arrays:
        return {PREFIX + name: values for name, values in vars(self).items()}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Pieces:
        """From arrays in which those of `to_arrays` stand among others."""
        return cls(**{name: arrays[PREFIX + name] for name in cls.__dataclass_fields__})


def find_knots(values: np.ndarray) -> np.ndarray:
    """float32 [K], ascending, of float32 `values` [N]: all different values where they are few; else those which as
    many rows share as a piece would have, and quantiles of the rest."""
    different, counts = np.unique(values, return_counts=True)
    if len(different) > PIECES + 1:
        frequent = different[counts * PIECES > len(values)]
        rest = values[~np.isin(values, frequent)]
        quantiles = np.quantile(rest, np.linspace(0, 1, PIECES + 1))
        different = np.unique(np.concatenate([frequent, quantiles]).astype(np.float32))
    return different[np.diff(different, prepend=-np.inf) > SHORTEST]


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype=np.float32), *parts])
