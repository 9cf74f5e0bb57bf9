"""The training program on series: it beats repeating the season, its range holds, and it goes on when stopped."""

from pathlib import Path

import numpy as np
import pytest

from tests.forecasting.making import DAILY, make_spec, stores, train_here, write_data
from tests.training.here import read
from tests.training.images import events_of
from workers.arrays import read_arrays
from workers.contract import EventWriter, ProgramFailure, TrainSpec, read_spec
from workers.inference.predictor import load_predictor
from workers.training.forecasting import train
from workers.training.stopping import Stop, Stopped

WEIGHTS = Path("model") / "model.safetensors"


@pytest.fixture(scope="module")
def daily(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("daily"), DAILY, stores())


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory, daily: Path) -> Path:
    return train_here(tmp_path_factory.mktemp("work"), daily)


def test_a_trend_with_weeks_and_years_is_forecast_better_than_by_the_last_week(output: Path) -> None:
    result = read(output / "result.json")
    test, naive = result["metrics"]["test"], result["baselines"]
    assert test["mase"] < 0.9 and test["mase"] < 0.9 * naive["seasonal_naive"]["mase"]
    assert test["mae"] < 0.5 * naive["naive_with_drift"]["mae"]
    assert 0.65 < test["coverage_80"] < 0.95
    assert test["width_80"] < 15  # the noise has a deviation of 3
    assert result["backtest"]["origins"] > 30 and result["backtest"]["split"] == "test"
    assert {item["name"] for item in result["leaderboard"]} >= {"gradient_boosting", "linear", "seasonal_naive"}


def test_what_is_shown_of_it_is_truth_and_what_was_forecast_of_it(output: Path) -> None:
    examples = read(output / "result.json")["examples"]
    assert [item["name"] for item in examples] == ["south", "north"]
    for item in examples:
        assert len({len(item[name]) for name in ("times", "values", "forecast", "low", "high")}) == 1
        ahead = [place for place, value in enumerate(item["forecast"]) if value is not None]
        assert ahead == list(range(ahead[0], len(item["times"]))) and len(ahead) >= 7
        assert all(item["low"][place] <= item["forecast"][place] <= item["high"][place] for place in ahead)


@pytest.mark.parametrize("model", ["gradient_boosting", "linear"])
def test_one_part_alone_can_be_asked_for(daily: Path, tmp_path: Path, model: str) -> None:
    output = train_here(tmp_path, daily, model=model, trees=8)
    assert read(output / "result.json")["architecture"] == model
    arrays = read_arrays(output / WEIGHTS)
    assert ("linear" in arrays) == (model == "linear") and any(name.startswith("q50") for name in arrays) == (
        model != "linear"
    )
    assert 0.6 < read(output / "result.json")["metrics"]["test"]["coverage_80"] < 0.97


@pytest.mark.parametrize("model", ["gradient_boosting", "linear"])
def test_nothing_of_the_test_part_is_known_in_training(daily: Path, tmp_path: Path, model: str) -> None:
    """Whatever the test values are, training finds the same trees, weights and corrections."""
    split = read(daily / "index.json")["split"]
    rows = [(day, name, "5" if part == "test" else value)
            for (day, name, value), part in zip(stores(), split, strict=True)]  # fmt: skip
    other = write_data(tmp_path / "data", DAILY, rows)
    outputs = [train_here(tmp_path / name, data, trees=6, model=model) for name, data in (("a", daily), ("b", other))]
    learned = [
        {name: array.tobytes() for name, array in read_arrays(output / WEIGHTS).items() if "history" not in name}
        for output in outputs
    ]
    assert learned[0] == learned[1]


class StopAfter(Stop):
    """Asks to stop when it has been looked at so often."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.left = times

    def check(self) -> None:
        self.left -= 1
        self.requested = self.requested or self.left < 0


@pytest.mark.parametrize("times", [0, 4])
def test_a_training_that_was_stopped_ends_as_if_nothing_had_happened(daily: Path, tmp_path: Path, times: int) -> None:
    with pytest.raises(Stopped):
        train_here(tmp_path / "stopped", daily, StopAfter(times), trees=6)
    spec = read_spec(TrainSpec, make_spec(tmp_path / "stopped", daily, resume=True, trees=6))
    train(spec, EventWriter(tmp_path / "stopped" / "events.jsonl"), Stop())
    train_here(tmp_path / "whole", daily, trees=6)
    stopped, whole = (tmp_path / name / "output" for name in ("stopped", "whole"))
    assert (stopped / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()
    assert read(stopped / "result.json")["metrics"] == read(whole / "result.json")["metrics"]


def test_gaps_and_repeated_times_are_said_and_nothing_is_judged_by_filled_values(tmp_path: Path) -> None:
    rows = [row for place, row in enumerate(stores(("north",))) if place % 10 != 3]
    data = write_data(tmp_path / "data", DAILY, [*rows, rows[5]])
    output = train_here(tmp_path / "work", data, trees=6, model="linear")
    said = " ".join(event.get("message", "") for event in events_of(tmp_path / "work"))
    assert "40 missing values were filled" in said and "1 rows share their time" in said
    arrays = read_arrays(output / WEIGHTS)
    assert int((arrays["history.known"] == 0).sum()) == 40
    assert None in read(output / "result.json")["examples"][0]["values"]


def test_a_column_that_is_known_beforehand_makes_forecasts_better(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    rows = []
    for day, name, value in stores(("north",)):
        is_promo = bool(random.random() < 0.2)
        rows.append((day, name, str(float(value) + 40 * is_promo), "yes" if is_promo else "no"))
    header, types = (*DAILY, "promo"), {"promo": "boolean"}
    data = write_data(tmp_path / "data", header, rows, types=types)
    behind, ahead = (
        read(train_here(tmp_path / name, data, known_columns=known) / "result.json")["metrics"]["test"]["mae"]
        for name, known in (("behind", ""), ("ahead", "promo"))
    )
    assert ahead < 0.5 * behind
    predictor = load_predictor(tmp_path / "ahead" / "output" / "model", 1)
    day = predictor.predict([{"horizon": 1}])[0].times[0]
    with_promo, without = (
        float(predictor.predict([{"horizon": 1, "future": [{"date": day, "promo": promo}]}])[0].middle[0])
        for promo in ("yes", "no")
    )
    assert with_promo > without + 20


def test_values_that_cannot_be_negative_are_not_forecast_below_zero(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = [(day, name, str(random.poisson(0.4))) for day, name, _ in stores(("north",), 200)]
    output = train_here(tmp_path / "w", write_data(tmp_path / "d", DAILY, rows), trees=6)
    found = load_predictor(output / "model", 1).predict([{}])[0]
    assert found.low.min() >= 0


@pytest.mark.parametrize(
    ("days", "settings", "code"),
    [
        (12, {"horizon": 7}, "series_too_short"),
        (400, {"time_column": "when"}, "unknown_column"),
        (400, {"series_column": "sales"}, "same_column_twice"),
        (400, {"time_column": "store", "series_column": "-"}, "unreadable_times"),
    ],
)
def test_what_cannot_be_learned_from_is_refused_with_a_reason(tmp_path: Path, days, settings, code) -> None:
    data = write_data(tmp_path / "data", DAILY, stores(days=days))
    with pytest.raises(ProgramFailure) as failure:
        train_here(tmp_path / "work", data, **settings)
    assert failure.value.code == code and failure.value.message
