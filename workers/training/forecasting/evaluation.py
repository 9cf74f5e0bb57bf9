"""The figures of the model that is kept and of forecasts without learning, on the same values, and some to see."""

from __future__ import annotations

from typing import Any

import numpy as np

from workers.series.model import Asked, ForecastModel, Ranges
from workers.training.forecasting.data import SeriesData
from workers.training.forecasting.fitting import Study
from workers.training.forecasting.measures import measure
from workers.training.forecasting.pairs import Pairs, backtest
from workers.training.forecasting.search import MOST_JUDGED, SEASONAL_NAIVE, Chosen, naive_figures

SHOWN_SERIES, SHOWN_SEASONS, LONGEST_SHOWN = 6, 4, 400


def measure_all(study: Study, chosen: Chosen) -> dict[str, Any]:
    """{"metrics": {split: figures}, "baseline": those of the seasonal naive forecast, "baselines": of all by name on
    the test part, "backtest": how many origins and values they are from}.

    Test figures are of the model that is kept, which knows nothing of the test part but what lies before each origin.
    """
    data = study.data
    metrics, naive = {"val": chosen.figures}, {"val": chosen.baselines[SEASONAL_NAIVE]}
    shown, asked = chosen.baselines, []
    if data.has_test:
        asked = backtest(data, (data.from_test, data.last + 1), MOST_JUDGED)
    judged = Pairs.of(data, study.recipe, asked)
    if len(judged):
        metrics["test"] = measure(judged.targets, judged.scales, forecast_all(chosen.model, judged.asked))
        shown = naive_figures(judged, data.season)
        naive["test"] = shown[SEASONAL_NAIVE]
    origins = sum(len(np.unique(each.origins)) for each in judged.asked)
    return {
        "metrics": metrics,
        "baseline": naive,
        "baselines": shown,
        "backtest": {"split": "test" if "test" in metrics else "val", "origins": origins, "values": len(judged),
                     "series": len(judged.asked)},
    }  # fmt: skip


def forecast_all(model: ForecastModel, asked: list[Asked]) -> Ranges:
    found = [model.forecast(each) for each in asked]
    return Ranges(*(np.concatenate([getattr(each, part) for each in found]) for part in ("low", "middle", "high")))


def examples(data: SeriesData, model: ForecastModel) -> list[dict[str, Any]]:
    """Of some series the last values and, beside those of the test part, what was forecast from its beginning on, one
    horizon after the other: {"name", "times", "values", "forecast", "low", "high"}, null where there is none.

    `values` are null where a gap was filled. The series are evenly apart from the one with the largest values down.
    """
    begin = data.from_test if data.has_test else data.from_val
    able = [each for each in data.series if each.last >= begin and begin - each.first > 1]
    order = sorted(able, key=lambda each: (-float(np.abs(each.values).mean()), each.name))
    places = np.unique(np.linspace(0, len(order) - 1, min(SHOWN_SERIES, len(order))).astype(int)) if order else []
    return [_example(data, model, order[place], begin) for place in places]


def _example(data: SeriesData, model: ForecastModel, series: Any, begin: int) -> dict[str, Any]:
    last = min(series.last, begin + LONGEST_SHOWN - 1)
    before = min(LONGEST_SHOWN, max(2 * data.horizon, SHOWN_SEASONS * data.season))
    first = max(series.first, begin - before)
    ahead = np.arange(begin, last + 1)
    origins = ahead - (ahead - begin) % data.horizon - 1
    ranges = model.forecast(Asked(series, origins - series.first, ahead - origins))
    periods = np.arange(first, last + 1)
    ticks = data.reading.frequency.ticks(periods).tolist()
    known = series.known[periods - series.first]
    values = series.values[periods - series.first]
    nothing: list[float | None] = [None] * (begin - first)
    return {
        "name": series.name,
        "times": [data.reading.clock.write(tick) for tick in ticks],
        "values": [_short(value) if is_known else None for value, is_known in zip(values, known, strict=True)],
        "forecast": nothing + [_short(value) for value in ranges.middle],
        "low": nothing + [_short(value) for value in ranges.low],
        "high": nothing + [_short(value) for value in ranges.high],
    }


def _short(value: float) -> float:
    return float(f"{value:.6g}")
