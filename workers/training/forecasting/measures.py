"""How good forecasts are, and forecasts that need no learning. Numpy only; formulas as in docs/forecasting.md.

The mean absolute scaled error is that of Hyndman and Koehler (2006): errors in units of what the seasonal naive
forecast missed by in the training part of the same series.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from workers.series.model import QUANTILES, Asked, Ranges
from workers.training.metrics import pinball_loss

LEVEL = 0.8  # the share of the values that the range is to hold


def smape(targets: np.ndarray, predicted: np.ndarray) -> float:
    """The mean of 2 |y - f| / (|y| + |f|), from 0 to 2; 0 where both are 0."""
    size = np.abs(targets) + np.abs(predicted)
    return float(np.mean(np.where(size > 0, 2 * np.abs(targets - predicted) / np.where(size > 0, size, 1), 0)))


def naive_scale(values: np.ndarray, known: np.ndarray, season: int) -> float:
    """The mean of |y_t - y_(t-m)| where both are known; NaN without such a pair, or where all are 0."""
    both = known[season:] & known[:-season] if len(values) > season else np.zeros(0, dtype=bool)
    if not both.any():
        return float("nan")
    scale = float(np.abs(values[season:] - values[:-season])[both].mean())
    return scale if scale > 0 else float("nan")


def seasonal_naive(asked: Asked, season: int) -> np.ndarray:
    """What was one season before, the last season that the origin knows; the last value where none is."""
    places = asked.origins + asked.steps - -(-asked.steps // season) * season
    return asked.series.values[np.where(places >= 0, places, asked.origins)]


def drift(asked: Asked) -> np.ndarray:
    """The last value, and on along the line from the first to it."""
    values, origins = asked.series.values, asked.origins
    slope = (values[origins] - values[0]) / np.maximum(1, origins)
    return values[origins] + asked.steps * slope


def measure(targets: np.ndarray, scales: np.ndarray, found: np.ndarray | Ranges) -> dict[str, float]:
    """mae, rmse, smape, mase, and for ranges coverage_80, width_80 and pinball; of all N forecasts together.

    `scales` [N] is the naive scale of each forecast's series, NaN where it has none.
    """
    middle = found.middle if isinstance(found, Ranges) else found
    errors = np.abs(targets - middle)
    scaled = errors / scales
    figures = {
        "mase": float(np.nanmean(scaled)) if (~np.isnan(scaled)).any() else float("nan"),
        "mae": float(errors.mean()),
        "rmse": float(np.sqrt((errors**2).mean())),
        "smape": smape(targets, middle),
    }
    if isinstance(found, Ranges):
        figures |= {
            "coverage_80": float(np.mean((targets >= found.low) & (targets <= found.high))),
            "width_80": float(np.mean(found.high - found.low)),
            "pinball": float(
                np.mean([pinball_loss(targets, each, quantile) for each, quantile in _by_quantile(found)])
            ),
        }
    return {name: value for name, value in figures.items() if np.isfinite(value)}


def _by_quantile(found: Ranges) -> Iterator[tuple[np.ndarray, float]]:
    return zip((found.low, found.middle, found.high), QUANTILES.values(), strict=True)
