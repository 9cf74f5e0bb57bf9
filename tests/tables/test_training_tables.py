"""A table becomes a model that serving answers with, and says what it is worth."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.tables.tables import (
    CUSTOMER_TYPES,
    QUICK,
    breast_cancer,
    customers,
    diabetes,
    events_of,
    iris,
    make_spec,
    prepare,
    train,
)
from workers.contract import EXIT_STOPPED, TABULAR_REGRESSION, ProgramFailure, write_spec
from workers.inference.parity import difference_from_record
from workers.inference.predictor import load_predictor
from workers.training.checkpoints import CheckpointStore, is_complete
from workers.training.stopping import Stop, Stopped

TARGET = {"target": "categorical"}
ROOT = Path(__file__).resolve().parents[2]


def model_of(spec) -> Path:
    return Path(spec.work_dir) / "output" / "model"


def predictor_of(spec):
    return load_predictor(model_of(spec), threads=1)


def meta_of(spec) -> dict:
    return json.loads((model_of(spec) / "meta.json").read_text())


class StopAfter(Stop):
    """Asks to stop when it has been looked at `looks` times."""

    def __init__(self, looks: int) -> None:
        self.looks = looks

    @property
    def requested(self) -> bool:
        self.looks -= 1
        return self.looks < 0


@pytest.fixture(scope="module")
def cancer(tmp_path_factory):
    """The automatic choice on a small table of numbers."""
    folder = tmp_path_factory.mktemp("cancer")
    prepared = prepare(folder, breast_cancer(), TARGET)
    spec = make_spec(prepared, folder / "work", model="auto", trees=40, folds=2)
    return prepared, spec, train(spec)


@pytest.fixture(scope="module")
def leavers(tmp_path_factory):
    """One boosting model on a table with every kind of column."""
    folder = tmp_path_factory.mktemp("customers")
    prepared = prepare(folder, customers(), CUSTOMER_TYPES)
    spec = make_spec(prepared, folder / "work", **QUICK)
    return prepared, spec, train(spec)


def test_the_automatic_choice_is_accurate_and_says_how_it_chose(cancer):
    _, spec, result = cancer
    assert result["metrics"]["test"]["accuracy"] >= 0.94
    assert result["metrics"]["test"]["auc"] >= 0.98
    assert {item["family"] for item in result["leaderboard"]} == {"trees", "linear"}
    losses = [item["val_loss"] for item in result["leaderboard"]]
    assert losses == sorted(losses)
    assert result["metrics"]["val"]["log_loss"] <= losses[0] * 1.05
    assert meta_of(spec)["metrics"] == result["metrics"]


def test_the_test_metrics_are_those_of_the_model_that_serving_loads(cancer):
    prepared, spec, result = cancer
    predictor, rows = predictor_of(spec), prepared.rows_of("test")
    guesses = [predictor.classes[number] for number in predictor.predict(rows).argmax(axis=1)]
    right = np.mean([guess == row["target"] for guess, row in zip(guesses, rows, strict=True)])
    assert right == pytest.approx(result["metrics"]["test"]["accuracy"])
    assert sum(map(sum, result["confusion"])) == len(rows)
    assert sum(result["confusion"][number][number] for number in range(2)) == round(right * len(rows))


def test_the_worst_mistakes_come_with_their_rows(leavers):
    _, _, result = leavers
    assert 0 < len(result["mistakes"]) <= 24
    for mistake in result["mistakes"]:
        assert mistake["true"] != mistake["predicted"] and mistake["probability"] > 0.5
        assert "target" not in mistake["row"] and mistake["row"]["city"]
    confidence = [mistake["probability"] for mistake in result["mistakes"]]
    assert confidence == sorted(confidence, reverse=True)


def test_columns_that_decide_are_the_important_ones(leavers):
    _, _, result = leavers
    ranked = [item["column"] for item in result["importance"]]
    assert set(ranked) == {"age", "city", "pays", "joined"}
    assert ranked[-1] == "joined"
    assert {item["name"] for item in result["dropped_columns"]} == {"id", "notes", "empty", "same"}


def test_the_meta_tells_a_form_what_to_ask_and_the_sample_can_be_answered(leavers):
    _, spec, _ = leavers
    meta, predictor = meta_of(spec), predictor_of(spec)
    assert meta["format"] == 1 and meta["runtime"] == "trees" and meta["classes"] == ["leaves", "stays"]
    assert [column["name"] for column in meta["input"]["columns"]] == ["age", "city", "pays", "joined"]
    assert "target" not in predictor.sample
    assert predictor.predict([predictor.sample]).sum() == pytest.approx(1)
    assert predictor.predict([predictor.sample | {"city": "a city never seen"}]).shape == (1, 2)


def test_the_answer_to_the_sample_is_recorded(leavers):
    folder = model_of(leavers[1])
    assert difference_from_record(load_predictor(folder, threads=1), folder)[0] < 1e-9


def test_serving_a_table_needs_neither_torch_nor_sklearn(leavers):
    _, spec, _ = leavers
    code = (
        "import sys; from pathlib import Path; from workers.inference.predictor import load_predictor\n"
        "predictor = load_predictor(Path(sys.argv[1]), 1); predictor.predict([predictor.sample])\n"
        "print(sorted({'torch', 'sklearn', 'scipy'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, str(model_of(spec))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_curves_progress_and_dropped_columns_are_told_while_training(leavers):
    _, spec, result = leavers
    work = Path(spec.work_dir)
    curves = {(event["name"], event["split"]) for event in events_of(work, "metric")}
    assert {("loss", "train"), ("loss", "val")} <= curves
    fractions = [event["fraction"] for event in events_of(work, "progress")]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    assert any("'notes' is not used: free text" in event["message"] for event in events_of(work, "log"))
    assert result["history"][0].keys() == {"epoch", "train_loss", "val_loss"}


def test_regression_is_measured_and_answered_in_the_targets_unit(tmp_path):
    prepared = prepare(tmp_path, diabetes())
    spec = make_spec(prepared, tmp_path / "work", TABULAR_REGRESSION, trees=40, folds=2)
    result = train(spec)
    truth = np.array([float(row["target"]) for row in prepared.rows_of("test")])
    values = predictor_of(spec).predict(prepared.rows_of("test"))
    assert result["metrics"]["test"]["r2"] > 0.3
    assert result["metrics"]["test"]["mae"] == pytest.approx(np.abs(values - truth).mean())
    assert result["metrics"]["test"]["rmse"] == pytest.approx(np.sqrt(np.mean((values - truth) ** 2)))
    assert truth.min() < values.mean() < truth.max()
    assert result["confusion"] is None and "error" in result["mistakes"][0]
    assert meta_of(spec)["target_stats"]["mean"] == pytest.approx(truth.mean(), rel=0.2)


@pytest.mark.parametrize("rows", [iris, customers], ids=["numbers", "categories"])
def test_an_mlp_becomes_a_graph_that_answers_with_probabilities(tmp_path, rows):
    prepared = prepare(tmp_path, rows(), CUSTOMER_TYPES)
    spec = make_spec(prepared, tmp_path / "work", model="mlp", epochs=25, folds=1, batch_size=16, hidden_size=32)
    result = train(spec)
    probabilities = predictor_of(spec).predict(prepared.rows_of("test"))
    assert meta_of(spec)["runtime"] == "onnx"
    assert result["metrics"]["test"]["accuracy"] > (0.9 if rows is iris else 0.7)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


def test_an_mlp_regression_answers_in_the_targets_unit(tmp_path):
    prepared = prepare(tmp_path, diabetes())
    spec = make_spec(prepared, tmp_path / "work", TABULAR_REGRESSION, model="mlp", epochs=8, folds=2, batch_size=32)
    assert train(spec)["metrics"]["test"]["r2"] > 0.2
    assert 100 < predictor_of(spec).predict(prepared.rows_of("test")).mean() < 200


def slopes_and_corners(count: int = 400) -> list[dict[str, str]]:
    """A target of slopes, hard for trees, and of a checkerboard, impossible for a line."""
    features = np.random.default_rng(0).uniform(-1, 1, size=(count, 8))
    target = features[:, :6].sum(axis=1) + 1.5 * (features[:, 6] * features[:, 7] > 0)
    names = [f"x{number}" for number in range(8)]
    return [
        dict(zip(names, map(str, row), strict=True)) | {"target": str(value)}
        for row, value in zip(features, target, strict=True)
    ]


def test_a_blend_of_trees_and_a_line_is_better_than_both_and_serves_the_mixture(tmp_path):
    prepared = prepare(tmp_path, slopes_and_corners())
    spec = make_spec(prepared, tmp_path / "work", TABULAR_REGRESSION, model="auto", trees=60, folds=2)
    result, meta = train(spec), meta_of(spec)
    assert meta["runtime"] == "blend" and sum(meta["blend"].values()) == pytest.approx(1)
    assert (model_of(spec) / "model.onnx").exists()
    standardised_loss = (result["metrics"]["val"]["rmse"] / meta["target_stats"]["std"]) ** 2
    assert standardised_loss < result["leaderboard"][0]["val_loss"]
    assert result["metrics"]["test"]["r2"] > 0.6


def test_a_linear_model_reads_categories_and_gaps(tmp_path):
    prepared = prepare(tmp_path, customers(), CUSTOMER_TYPES)
    spec = make_spec(prepared, tmp_path / "work", model="linear", folds=3)
    assert train(spec)["metrics"]["test"]["accuracy"] > 0.7
    assert meta_of(spec)["runtime"] == "onnx"


def test_a_category_that_only_the_test_rows_have_does_no_harm(tmp_path):
    rows = customers(200)
    prepared = prepare(tmp_path, rows, CUSTOMER_TYPES)
    for row, name in zip(rows, prepared.split, strict=True):
        row["city"] = "Rome" if name == "test" else row["city"].replace("Rome", "Oslo")
    spec = make_spec(prepare(tmp_path, rows, CUSTOMER_TYPES), tmp_path / "work", **QUICK)
    assert 0.5 < train(spec)["metrics"]["test"]["accuracy"] <= 1


def test_without_validation_rows_some_training_rows_take_their_place(tmp_path):
    rows = customers(200)
    prepared = prepare(tmp_path, rows, CUSTOMER_TYPES, ["train"] * 150 + ["test"] * 50)
    result = train(make_spec(prepared, tmp_path / "work", **QUICK))
    assert result["rows"] == {"train": 135, "val": 15, "test": 50}


def test_without_test_rows_only_validation_is_reported(tmp_path):
    prepared = prepare(tmp_path, customers(200), CUSTOMER_TYPES, ["train"] * 160 + ["val"] * 40)
    result = train(make_spec(prepared, tmp_path / "work", **QUICK))
    assert set(result["metrics"]) == {"val"} and result["mistakes"] == []
    assert sum(map(sum, result["confusion"])) == 40


def test_a_class_with_a_single_row_is_trained_on(tmp_path):
    rows = customers(200)
    rows[3]["target"] = "moved"
    spec = make_spec(prepare(tmp_path, rows, CUSTOMER_TYPES), tmp_path / "work", **{**QUICK, "folds": 3})
    result = train(spec)
    assert result["classes"] == ["leaves", "moved", "stays"]


def refusal(tmp_path: Path, rows: list[dict], task: str | None = None, **overrides) -> ProgramFailure:
    prepared = prepare(tmp_path, rows, CUSTOMER_TYPES)
    spec = make_spec(prepared, tmp_path / "work", **({"task": task} if task else {}), **QUICK, **overrides)
    with pytest.raises(ProgramFailure) as failure:
        train(spec)
    return failure.value


def test_one_class_only_is_refused(tmp_path):
    failure = refusal(tmp_path, [row | {"target": "stays"} for row in customers(50)])
    assert failure.code == "one_class" and "'target'" in failure.message


def test_a_regression_on_words_is_refused(tmp_path):
    failure = refusal(tmp_path, customers(50), TABULAR_REGRESSION)
    assert failure.code == "wrong_type" and failure.field == "target" and "classification" in failure.hint


def test_too_few_rows_with_a_target_are_refused(tmp_path):
    rows = [row if number < 5 else row | {"target": "?"} for number, row in enumerate(customers(50))]
    failure = refusal(tmp_path, rows)
    assert failure.code == "too_few_rows" and "Only 5 rows" in failure.message


def test_an_unknown_target_is_refused(tmp_path):
    rows = [{("goal" if name == "target" else name): value for name, value in row.items()} for row in customers(50)]
    assert refusal(tmp_path, rows).code == "unknown_target"


def arrays_of(spec) -> bytes:
    return (model_of(spec) / "model.safetensors").read_bytes()


def curves_of(events: list[dict]) -> list[tuple]:
    """The points that a site keeps of these events: what is measured again after a checkpoint replaces what was."""
    return [(event["name"], event["split"], event["step"], event["value"]) for event in events]


@pytest.mark.parametrize(
    ("settings", "looks"),
    [
        ({"model": "gradient_boosting", "folds": 2, "trees": 30}, 100),
        ({"model": "mlp", "folds": 2, "epochs": 3}, 32),
    ],
    ids=["gradient_boosting", "mlp"],
)
def test_a_stopped_training_resumes_to_the_very_same_model(tmp_path, settings, looks):
    prepared = prepare(tmp_path, customers(), CUSTOMER_TYPES)
    settings |= {"batch_size": 32, "hidden_size": 16}
    whole, stopped = (make_spec(prepared, tmp_path / name, **settings) for name in ("whole", "stopped"))
    train(whole)
    with pytest.raises(Stopped):
        train(stopped, StopAfter(looks))
    assert not model_of(stopped).exists()
    before, checkpoint = events_of(tmp_path / "stopped", "metric"), events_of(tmp_path / "stopped", "checkpoint")[-1]
    resumed = make_spec(prepared, tmp_path / "stopped", resume=True, **settings)
    train(resumed)
    after = events_of(tmp_path / "stopped", "metric")[len(before) :]
    kept = [event for event in before if event["step"] <= checkpoint["step"]]
    assert curves_of(kept + after) == curves_of(events_of(tmp_path / "whole", "metric"))
    assert arrays_of(resumed) == arrays_of(whole)
    assert any("Going on after" in event["message"] for event in events_of(tmp_path / "stopped", "log"))


def test_a_checkpoint_of_other_settings_is_not_taken_up(tmp_path):
    prepared = prepare(tmp_path, customers(200), CUSTOMER_TYPES)
    with pytest.raises(Stopped):
        train(make_spec(prepared, tmp_path / "work", **QUICK), StopAfter(5))
    train(make_spec(prepared, tmp_path / "work", resume=True, **{**QUICK, "trees": 10}))
    assert not any("Going on" in event["message"] for event in events_of(tmp_path / "work", "log"))


def test_the_program_stops_at_sigterm_and_leaves_a_complete_checkpoint(tmp_path):
    prepared = prepare(tmp_path, customers(), CUSTOMER_TYPES)
    settings = {**QUICK, "trees": 10_000, "early_stopping_patience": 0, "tree_learning_rate": 0.001}
    spec = make_spec(prepared, tmp_path / "work", **settings)
    Path(spec.work_dir).mkdir()
    write_spec(spec, tmp_path / "work" / "spec.json")
    command = [sys.executable, "-m", "workers.training", str(tmp_path / "work" / "spec.json")]
    program = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        deadline = time.monotonic() + 60
        while not events_of(tmp_path / "work", "metric"):
            assert time.monotonic() < deadline and program.poll() is None
            time.sleep(0.05)
        program.send_signal(signal.SIGTERM)
        assert program.wait(timeout=20) == EXIT_STOPPED
    finally:
        program.kill()
        program.wait()
    (event,) = events_of(tmp_path / "work", "checkpoint")[-1:]
    assert is_complete(tmp_path / "work" / event["path"])
    assert CheckpointStore(tmp_path / "work" / "checkpoints").load_newest().tensors
