"""A classifier of tables says 80 % where it is right four times of five, wherever it is asked."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.tables.tables import CUSTOMER_TYPES, customers, make_spec, prepare, train
from workers.compression import recipes
from workers.compression.program import compress
from workers.contract import CompressSpec, EventWriter, read_events
from workers.inference.files import read_meta
from workers.inference.outcomes import tempered
from workers.inference.parity import difference_from_record
from workers.inference.predictor import load_predictor
from workers.training.metrics import expected_calibration_error, log_loss
from workers.training.stopping import Stop
from workers.training.tables.heldout import read_heldout

pytestmark = pytest.mark.xdist_group("sure tables")  # the module's fixture trains once

# So few small steps that it knows which class is likelier and not by how much.
TIMID = {"model": "gradient_boosting", "folds": 2, "trees": 10, "tree_learning_rate": 0.05}


@pytest.fixture(scope="module")
def timid(tmp_path_factory):
    folder = tmp_path_factory.mktemp("timid")
    prepared = prepare(folder, customers(), CUSTOMER_TYPES)
    spec = make_spec(prepared, folder / "work", **TIMID)
    return prepared, spec, train(spec)


def model_of(spec) -> Path:
    return Path(spec.work_dir) / "output" / "model"


def truths_of(predictor, rows: list[dict]) -> np.ndarray:
    return np.array([predictor.classes.index(row["target"]) for row in rows])


def test_a_model_that_is_not_sure_enough_becomes_surer_and_is_as_often_right(timid):
    prepared, spec, result = timid
    predictor, rows = load_predictor(model_of(spec), 1), prepared.rows_of("test")
    before, after = predictor.mixed(predictor.encode(rows)), predictor.predict(rows)
    truths, told = truths_of(predictor, rows), result["calibration"]
    assert told["temperature"] == predictor.temperature < 0.8
    assert (before.argmax(axis=1) == after.argmax(axis=1)).all()
    assert log_loss(truths, after) < log_loss(truths, before)
    assert told["after"] < told["before"]
    assert told["before"] == pytest.approx(expected_calibration_error(truths, before))
    assert told["after"] == pytest.approx(result["metrics"]["test"]["ece"])
    for name in ("before", "after"):
        assert sum(each["items"] for each in told["reliability"][name]) == len(rows)


def test_validation_figures_and_kept_answers_are_those_of_the_calibrated_model(timid):
    prepared, spec, result = timid
    rows, said = read_heldout(model_of(spec))
    truths = truths_of(load_predictor(model_of(spec), 1), [prepared.rows[number] for number in rows])
    assert log_loss(truths, said) == pytest.approx(result["metrics"]["val"]["log_loss"], rel=1e-5)
    assert log_loss(truths, tempered(said, 1 / result["calibration"]["temperature"])) > log_loss(truths, said)


def test_the_recorded_answer_is_the_calibrated_one(timid):
    _, spec, _ = timid
    gap, tolerance = difference_from_record(load_predictor(model_of(spec), 1), model_of(spec))
    assert gap <= tolerance


def test_a_smaller_model_is_as_sure(timid, tmp_path):
    prepared, spec, _ = timid
    settings = recipes.resolve(spec.task, {"recipes": [[{"method": "quantise"}]], "limit_points": 20.0})
    asked = CompressSpec(str(tmp_path), spec.task, str(model_of(spec)), spec.data_path, spec.index_path, settings)
    compress(asked, EventWriter(tmp_path / "events.jsonl"), Stop())
    told = [event for event, _ in read_events(tmp_path / "events.jsonl") if event["type"] == "candidate"]
    small = load_predictor(tmp_path / told[1]["folder"], 1)
    assert small.temperature == read_meta(model_of(spec))["temperature"]
    rows = prepared.rows_of("test")
    np.testing.assert_allclose(small.predict(rows), load_predictor(model_of(spec), 1).predict(rows), atol=0.05)


def test_a_model_from_before_answers_as_it_did(timid, tmp_path):
    prepared, spec, _ = timid
    for file in model_of(spec).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    meta = read_meta(tmp_path)
    del meta["temperature"]
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    old, rows = load_predictor(tmp_path, 1), prepared.rows_of("test")
    np.testing.assert_array_equal(old.predict(rows), old.mixed(old.encode(rows)))
