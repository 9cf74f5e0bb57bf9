"""A model that forecasts is asked: with a series of the data, with one that is sent, and for single times."""

import json
from datetime import date, timedelta
from pathlib import Path

import httpx
import numpy as np
import pytest

from leptonai.model import Model
from leptonai.records import Record
from leptonai.transport import Http
from tests.forecasting.making import DAILY, stores, train_here, wave, write_data
from workers.contract import EventWriter, PredictSpec
from workers.inference.answers import answer
from workers.inference.framing import JSON, RAW, TENSORS, Question
from workers.inference.parity import difference_from_record
from workers.inference.predictor import load_predictor
from workers.predicting.program import predict
from workers.training.stopping import Stop

LAST = date(2022, 1, 3) + timedelta(days=399)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"), DAILY, stores())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    return train_here(tmp_path_factory.mktemp("work"), data, trees=12) / "model"


@pytest.fixture(scope="module")
def predictor(folder: Path):
    return load_predictor(folder, 1)


def ask(predictor, body: dict) -> tuple[int, dict]:
    (frame,) = answer(predictor, [Question(JSON, json.dumps(body).encode())])
    return frame.status, json.loads(frame.body)


def history(values, first: date = date(2024, 3, 1)) -> list[dict]:
    return [{"time": str(first + timedelta(days=day)), "value": value} for day, value in enumerate(values)]


def test_a_series_of_the_data_goes_on_after_its_last_value(predictor):
    status, found = ask(predictor, {"series": "north", "horizon": 3, "history_steps": 2})
    assert status == 200
    assert [item["time"] for item in found["forecast"]] == [str(LAST + timedelta(days=day)) for day in (1, 2, 3)]
    assert all(item["low"] <= item["value"] <= item["high"] for item in found["forecast"])
    assert [item["time"] for item in found["history"]] == [str(LAST - timedelta(days=1)), str(LAST)]
    assert found["history"][-1]["value"] == float(stores()[399][2])
    assert len(ask(predictor, {"series": "north"})[1]["forecast"]) == 7


def test_a_history_that_is_sent_is_forecast_in_its_own_size(predictor):
    sent = history((1000 * wave(120)).tolist())
    status, found = ask(predictor, {"history": sent, "horizon": 7})
    assert status == 200 and found["forecast"][0]["time"] == "2024-06-29"
    true = 1000 * wave(127)[120:]
    said = np.array([item["value"] for item in found["forecast"]])
    assert np.abs(said - true).mean() < 12_000  # of values around 105,000
    shuffled = ask(predictor, {"history": sent[::-1], "horizon": 7})[1]
    assert shuffled == found


def test_its_columns_may_be_called_as_those_of_the_data(predictor):
    own = [{"date": row["time"], "sales": row["value"], "store": "x"} for row in history(wave(60).tolist())]
    assert ask(predictor, {"history": own})[1] == ask(predictor, {"history": history(wave(60).tolist())})[1]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid_request"),
        ({"series": "west"}, "unknown_series"),
        ({"series": "north", "horizon": 8}, "horizon_too_long"),
        ({"series": "north", "horizon": 0}, "out_of_range"),
        ({"series": "north", "horizon": True}, "out_of_range"),
        ({"series": ["north"]}, "invalid_request"),
        ({"history": []}, "invalid_request"),
        ({"history": [{"time": "2024-01-01"}]}, "missing_column"),
        ({"history": history([1.0, 2.0])}, "history_too_short"),
        ({"history": [*history([1.0, 2.0, 3.0, 4.0]), {"time": "soon", "value": 1}]}, "unreadable_time"),
        ({"history": [*history([1.0, 2.0, 3.0, 4.0]), {"time": "0001-01-01", "value": 1}]}, "unreadable_time"),
        ({"history": [*history([1.0, 2.0, 3.0, 4.0]), {"time": "1200-01-01", "value": 1}]}, "history_too_long"),
        ({"history": [*history([1.0, 2.0, 3.0, 4.0]), {"time": "2024-04-01", "value": "many"}]}, "wrong_type"),
        ({"history": [*history([1.0, 2.0, 3.0, 4.0]), {"time": "2024-04-01", "value": 1e99}]}, "wrong_type"),
        ({"history": [*history([1.0, 2.0, 3.0, 4.0]), {"time": "2024-04-01", "value": 10**400}]}, "wrong_type"),
        ({"history": history([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], date(9999, 12, 25))}, "unreadable_time"),
        ({"season": 3}, "unknown_field"),
        ({"rows": [{"date": str(LAST + timedelta(days=9)), "store": "north"}]}, "horizon_too_long"),
        ({"rows": [{"date": "2022-01-04", "store": "north"}]}, "history_too_short"),
        ({"rows": [{"store": "north"}]}, "missing_column"),
    ],
)
def test_a_question_that_cannot_be_answered_says_why(predictor, body, code):
    status, found = ask(predictor, body)
    assert status in (400, 422) and found["error"]["code"] == code and found["error"]["message"]


def test_pictures_are_no_question(predictor):
    (frame,) = answer(predictor, [Question(RAW, b"\x89PNG")])
    assert frame.status == 415


def test_a_single_time_ahead_is_the_same_as_in_the_whole_forecast(predictor):
    whole = ask(predictor, {"series": "south"})[1]["forecast"]
    (one,) = ask(predictor, {"rows": [{"date": whole[3]["time"], "store": "south"}]})[1]["predictions"]
    assert one == {name: whole[3][name] for name in ("value", "low", "high", "time")}


def test_rows_that_are_asked_together_are_answered_as_each_alone(tmp_path):
    rows = [
        (day, store, f"{float(value) + 60 * (number % 5 == 0):.2f}", "no" if number % 5 else "yes")
        for number, (day, store, value) in enumerate(stores(days=200))
    ]
    header, types = (*DAILY, "promo"), {"promo": "categorical"}
    data = write_data(tmp_path / "data", header, rows, types=types)
    model = load_predictor(train_here(tmp_path / "work", data, trees=12, known_columns="promo") / "model", 1)
    last = date(2022, 1, 3) + timedelta(days=199)
    asked = [
        {"date": str(last + timedelta(days=day)), "store": store, "promo": promo}
        for day in (-40, -9, 0, 1, 3, 3, 2)
        for store in ("south", "north")
        for promo in ("yes", "no")
    ]
    together = ask(model, {"rows": asked})[1]["predictions"]
    assert together == [ask(model, {"rows": [row]})[1]["predictions"][0] for row in asked]
    assert [item["time"] for item in together] == [row["date"] for row in asked]
    said = {item["value"] for item, row in zip(together, asked, strict=True) if row["date"] == asked[16]["date"]}
    assert len(said) == 4  # what is known beforehand of a row is its own


def test_a_known_time_is_forecast_by_what_was_known_before_its_block(predictor):
    """Changing what came in the block changes nothing."""
    day = predictor.reading.clock.write(predictor.reading.frequency.ticks(np.array([predictor._from_test + 4]))[0])
    before = ask(predictor, {"rows": [{"date": day, "store": "north"}]})
    kept = predictor.series["north"].values.copy()
    predictor.series["north"].values[predictor._from_test - predictor.series["north"].first :] = -1e6
    try:
        assert ask(predictor, {"rows": [{"date": day, "store": "north"}]}) == before
    finally:
        predictor.series["north"].values[:] = kept


def test_names_of_series_as_a_tensor_give_times_and_ranges(predictor):
    request = {"inputs": [{"name": "series", "datatype": "BYTES", "shape": [2], "data": ["north", "south"]}]}
    (frame,) = answer(predictor, [Question(TENSORS, json.dumps(request).encode())])
    outputs = {item["name"]: item for item in json.loads(frame.body)["outputs"]}
    assert outputs["time"]["shape"] == outputs["value"]["shape"] == outputs["low"]["shape"] == [2, 7]
    assert outputs["value"]["data"][:7] == pytest.approx(
        [item["value"] for item in ask(predictor, {"series": "north"})[1]["forecast"]], rel=1e-6
    )


def test_the_files_answer_the_sample_as_they_did(predictor, folder):
    difference, allowed = difference_from_record(predictor, folder)
    assert difference <= allowed


def test_a_damaged_file_is_no_model(folder, tmp_path):
    for name in ("meta.json", "series.json", "sample.json", "parity.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-400])
    with pytest.raises(Exception, match="damaged"):
        load_predictor(tmp_path, 1)


def test_every_row_of_the_test_part_is_forecast_with_its_range_and_judged(tmp_path, data, folder):
    spec = PredictSpec(str(tmp_path), str(folder), str(data / "data.csv"), "data.csv", str(data / "index.json"), "test")
    result = predict(spec, EventWriter(tmp_path / "events.jsonl"), Stop())
    lines = (tmp_path / "output" / "predictions.csv").read_text().splitlines()
    assert lines[0] == "date,store,sales,prediction,low,high,error" and len(lines) == 81
    assert result["metrics"]["mae"] < 6
    first = json.loads((tmp_path / "output" / "predictions.jsonl").read_text().splitlines()[0])
    assert first["low"] <= first["prediction"] <= first["high"]


def test_a_program_asks_by_name_and_for_single_times():
    sent: list = []

    def respond(request: httpx.Request) -> httpx.Response:
        sent.append(json.loads(request.content))
        return httpx.Response(200, json={"forecast": [{"time": "2024-01-01", "value": 1.0, "low": 0.5, "high": 2.0}]})

    http = Http("http://site", "lp_key", 5, httpx.MockTransport(respond))
    facts = Record({"task": "forecasting", "input": Record({"kind": "series"}), "classes": []})
    model = Model(http, "sales", facts)
    assert model.predict(series="north", horizon=1)["forecast"][0]["high"] == 2.0
    model.predict(history=history([1.0]), horizon=2)
    model.predict([{"date": "2024-01-01"}])
    assert sent[0] == {"series": "north", "horizon": 1}
    assert sent[1] == {"history": history([1.0]), "horizon": 2} and sent[2] == {"rows": [{"date": "2024-01-01"}]}
