"""How much of each part goes into the model: all is judged on the validation data, then learned once more with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from workers.contract import ProgramFailure
from workers.series.model import MIDDLE, ForecastModel, Linear, Ranges, correct, mix
from workers.training.forecasting.data import SeriesData
from workers.training.forecasting.fitting import ROUNDS, Study, choose_strength, fit_linear, grow_trees
from workers.training.forecasting.measures import LEVEL, drift, measure, seasonal_naive
from workers.training.forecasting.pairs import Pairs, Span, backtest, sample
from workers.trees import Arrays, Ensemble

MOST_HOLDOUT, MOST_JUDGED = 20_000, 60_000
SHARES = tuple(round(0.1 * number, 1) for number in range(11))
BOOSTING, LINEAR, BLEND = "gradient_boosting", "linear", "blend"
SEASONAL_NAIVE, DRIFT = "seasonal_naive", "naive_with_drift"
EVER = -(10**15)  # before every period


@dataclass(frozen=True)
class Chosen:
    """The model that is kept, the arrays of its trees, what was tried, and its figures on the validation data, which
    were taken before it had learned from these."""

    name: str
    model: ForecastModel
    trees: dict[str, Arrays]
    leaderboard: list[dict[str, Any]]
    figures: dict[str, float]
    baselines: dict[str, dict[str, float]]
    rounds: int


def _floor(data: SeriesData) -> float | None:
    """Zero where no value before the test is below it."""
    known = (each.values[: max(1, data.from_test - each.first)] for each in data.series)
    return 0.0 if min(float(values.min()) for values in known) >= 0 else None


@dataclass(frozen=True)
class Parts:
    """What was learned: trees by quantile and the linear part, None and none where they were not wanted."""

    trees: Mapping[str, Arrays]
    linear: Linear | None
    strength: float = 0.0


def run_search(study: Study) -> Chosen:
    """Raises Stopped after a checkpoint, ProgramFailure nothing_to_judge."""
    data, settings = study.data, study.settings
    before, between = (EVER, data.from_val), (data.from_val, data.from_test)
    judged = Pairs.of(data, study.recipe, backtest(data, between, MOST_JUDGED))
    if not len(judged):
        message = "No series has values in the part of time that is for validation."
        raise ProgramFailure("nothing_to_judge", message, hint="Upload a longer time, or ask for fewer steps.")
    study.keeper.curve_key = f"first {MIDDLE}"
    parts = _learn(study, "first", before, between, judged, (0.05, 0.5))
    share = _choose_share(study, parts, judged)
    correction = _correction(data.horizon, judged, _ranges(parts, judged, study, share))
    floor = _floor(data)
    known = _learn_again(study, parts, (EVER, data.from_test), between)
    kept = {name: arrays for name, arrays in known.trees.items() if share < 1}
    model = ForecastModel(
        study.recipe,
        {name: Ensemble.from_arrays(arrays) for name, arrays in kept.items()},
        known.linear if share > 0 else None,
        share,
        correction,
        floor,
    )
    board, baselines = _leaderboard(study, parts, judged)
    first = _outwards(judged, _ranges(parts, judged, study, share), correction, floor)
    figures = measure(judged.targets, judged.scales, first)
    name = _name_of(settings["model"], share)
    if name == BLEND:
        board.insert(0, _row(f"{BLEND}, {share:.0%} linear", BLEND, figures))
    _say(study, name, figures, baselines)
    rounds = int(parts.trees[MIDDLE][ROUNDS][0]) if parts.trees else 0
    return Chosen(name, model, kept, sorted(board, key=lambda row: row["value"]), figures, baselines, rounds)


def _learn(
    study: Study, key: str, before: Span, between: Span, judged: Pairs, span: tuple[float, float]
) -> Parts:  # fmt: skip
    """From targets before the validation data, which choose the number of rounds and the strength."""
    data, wanted = study.data, study.settings["model"]
    trees: dict[str, Arrays] = {}
    if wanted != LINEAR:
        train, holdout = _samples(study, before, between)
        trees = grow_trees(study, key, train, holdout, span, {})
    if wanted == BOOSTING or not _has_windows(study, before):
        if not trees:
            message = f"No series has so many values in its training part that {data.horizon} steps follow on others."
            raise ProgramFailure("series_too_short", message, hint="Ask for fewer steps.", field="horizon")
        return Parts(trees, None)

    def judge(linear: Linear) -> float:
        return _scaled_error(judged, _straight(study, linear, judged))

    strength, linear = choose_strength(study, before, judge)
    study.events.log(f"The linear part reads {linear.window} values, with a strength of {strength:g}.")
    return Parts(trees, linear, strength)


def _has_windows(study: Study, span: Span) -> bool:
    return any(len(study.data.origins(each, *span, horizon=study.data.horizon)) for each in study.data.series)


def _samples(study: Study, before: Span, between: Span) -> tuple[Pairs, Pairs]:
    data, settings = study.data, study.settings
    train = Pairs.of(data, study.recipe, sample(data, before, settings["examples"], settings["seed"]))
    holdout = Pairs.of(data, study.recipe, sample(data, between, MOST_HOLDOUT, settings["seed"]))
    return train, holdout


def _learn_again(study: Study, parts: Parts, span: Span, between: Span) -> Parts:
    """With the validation data too, and as many rounds as were best."""
    study.events.progress(0.5, "Learning once more, with the validation part")
    linear = fit_linear(study, span, parts.strength) if parts.linear else None
    if not parts.trees:
        return Parts({}, linear)
    train, holdout = _samples(study, span, between)
    rounds = {name: int(arrays[ROUNDS][0]) for name, arrays in parts.trees.items()}
    return Parts(_without_rounds(grow_trees(study, "final", train, holdout, (0.5, 0.85), rounds)), linear)


def _without_rounds(trees: Mapping[str, Arrays]) -> dict[str, Arrays]:
    return {name: {key: each for key, each in arrays.items() if key != ROUNDS} for name, arrays in trees.items()}


def _straight(study: Study, linear: Linear, judged: Pairs) -> np.ndarray:
    return np.concatenate([linear.predict(study.recipe, each) for each in judged.asked])


def _scaled_error(judged: Pairs, scaled: np.ndarray) -> float:
    """The mean absolute error in units of the naive scale, or of the spread where there is none."""
    scales = np.where(np.isnan(judged.scales), judged.spread, judged.scales)
    return float(np.mean(np.abs(judged.targets - judged.outwards(scaled)) / scales))


def _middle(parts: Parts, judged: Pairs) -> dict[str, np.ndarray]:
    trees = _without_rounds(parts.trees)
    return {name: Ensemble.from_arrays(arrays).predict(judged.matrix)[:, 0] for name, arrays in trees.items()}


def _choose_share(study: Study, parts: Parts, judged: Pairs) -> float:
    """How much of the middle is linear: what does best on the validation data."""
    if parts.linear is None or not parts.trees:
        return 0.0 if parts.trees else 1.0
    middle, straight = _middle(parts, judged)[MIDDLE], _straight(study, parts.linear, judged)
    errors = [_scaled_error(judged, (1 - share) * middle + share * straight) for share in SHARES]
    return SHARES[int(np.argmin(errors))]


def _ranges(parts: Parts, judged: Pairs, study: Study, share: float) -> Ranges:
    """In units of the spread, as the model that is kept gives them without a correction."""
    straight = _straight(study, parts.linear, judged) if parts.linear and share > 0 else np.zeros(len(judged))
    if not parts.trees or share == 1:
        return Ranges(straight, straight, straight)
    return mix(_middle(parts, judged), straight, share)


def _correction(horizon: int, judged: Pairs, ranges: Ranges) -> np.ndarray:
    scores = np.maximum(ranges.low - judged.scaled_targets, judged.scaled_targets - ranges.high)
    return correct(scores, judged.steps, horizon, LEVEL)


def _outwards(judged: Pairs, scaled: Ranges, correction: np.ndarray, floor: float | None) -> Ranges:
    wider = correction[judged.steps - 1]
    middle = judged.outwards(scaled.middle)
    low = np.minimum(judged.outwards(scaled.low - wider), middle)
    high = np.maximum(judged.outwards(scaled.high + wider), middle)
    least = -np.inf if floor is None else floor
    return Ranges(*(np.maximum(each, least) for each in (low, middle, high)))


def naive_figures(judged: Pairs, season: int) -> dict[str, dict[str, float]]:
    """What forecasts that need no learning reach on the same values."""
    found = {
        SEASONAL_NAIVE: [seasonal_naive(each, season) for each in judged.asked],
        DRIFT: [drift(each) for each in judged.asked],
    }
    return {name: measure(judged.targets, judged.scales, np.concatenate(parts)) for name, parts in found.items()}


def _leaderboard(
    study: Study, parts: Parts, judged: Pairs
) -> tuple[list[dict[str, Any]], dict[str, dict[str, float]]]:  # fmt: skip
    baselines = naive_figures(judged, study.data.season)
    rows = [_row(name, "baseline", figures) for name, figures in baselines.items()]
    scaled = {}
    if parts.trees:
        scaled[BOOSTING] = _middle(parts, judged)[MIDDLE]
    if parts.linear:
        scaled[LINEAR] = _straight(study, parts.linear, judged)
    for name, middle in scaled.items():
        rows.append(_row(name, name, measure(judged.targets, judged.scales, judged.outwards(middle))))
    return rows, baselines


def _row(name: str, family: str, figures: Mapping[str, float]) -> dict[str, Any]:
    metric = "mase" if "mase" in figures else "mae"
    return {"name": name, "family": family, "metric": metric, "value": figures[metric]}


def _name_of(wanted: str, share: float) -> str:
    if wanted in (BOOSTING, LINEAR):
        return wanted
    return BOOSTING if share == 0 else LINEAR if share == 1 else BLEND


def _say(study: Study, name: str, figures: Mapping[str, float], baselines: Mapping[str, Mapping[str, float]]) -> None:
    metric = "mase" if "mase" in figures else "mae"
    naive = baselines[SEASONAL_NAIVE].get(metric, float("nan"))
    study.events.log(f"{name}: {metric} {figures[metric]:.4g} on the validation part, seasonal naive {naive:.4g}.")
    if figures[metric] >= naive:
        message = "What was learned is no better than repeating the last season: the past says little of what comes."
        study.events.log(message, "warning")
