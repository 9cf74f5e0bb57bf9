"""What a linear model of tables makes of numbers: a curve for each, in training as in serving."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tables.tables import make_spec, prepare, train
from workers.contract import TABULAR_REGRESSION
from workers.inference.predictor import load_predictor
from workers.training.tables.pieces import PIECES, Pieces, find_knots

STEPS = {"1": 0.0, "2": 3.0, "3": -1.0}  # what a count is worth: neither more nor less with each one more


def bends_and_steps(count: int = 300) -> list[dict[str, str]]:
    """A target that falls and rises with one number, and jumps with another of three values."""
    random = np.random.default_rng(0)
    rows = []
    for _ in range(count):
        x, steps, is_gap = random.uniform(-3, 3), str(random.integers(1, 4)), random.random() < 0.1
        target = (0 if is_gap else abs(x)) + STEPS[steps]
        rows.append({"x": "" if is_gap else str(x), "steps": steps, "target": str(target)})
    return rows


def train_linear(folder: Path, rows: list[dict[str, str]], types: dict[str, str] | None = None) -> tuple[dict, Path]:
    """The result, and the model's folder."""
    spec = make_spec(prepare(folder, rows, types), folder / "work", TABULAR_REGRESSION, model="linear", folds=2)
    return train(spec), folder / "work" / "output" / "model"


def test_a_linear_model_bends_with_a_number_and_steps_with_its_few_values(tmp_path):
    result, folder = train_linear(tmp_path, bends_and_steps())
    assert result["metrics"]["test"]["r2"] > 0.97
    predictor = load_predictor(folder, threads=1)
    far, middle, near = predictor.predict([{"x": x, "steps": 1} for x in (-2.5, 0, 2.5)])
    assert far == pytest.approx(2.5, abs=0.4) and near == pytest.approx(2.5, abs=0.4) and abs(middle) < 0.6
    steps = predictor.predict([{"x": 0, "steps": int(value)} for value in STEPS]) - middle
    assert steps == pytest.approx(list(STEPS.values()), abs=0.4)


def test_the_graph_alone_answers_like_the_model(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    _, folder = train_linear(tmp_path, bends_and_steps())
    predictor = load_predictor(folder, threads=1)
    rows = [{"x": x, "steps": 2} for x in (None, -50.0, -1.0, 0.0, 0.7, 50.0)]
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    answers = session.run(None, {"numeric": predictor.encode(rows).numeric})[0]
    assert answers == pytest.approx(predictor.predict(rows), abs=1e-4)
    assert json.loads((folder / "meta.json").read_text())["runtime"] == "onnx"


def test_numbers_of_two_values_and_words_alone_need_no_pieces(tmp_path):
    random = np.random.default_rng(1)
    rows = [
        {"flag": str(flag), "word": word, "target": str(flag + 2 * (word == "b"))}
        for flag, word in zip(random.integers(0, 2, 80), random.choice(["a", "b"], 80), strict=True)
    ]
    result, _ = train_linear(tmp_path, rows, {"word": "categorical"})
    assert result["metrics"]["test"]["r2"] > 0.95


def test_a_value_that_many_rows_share_is_a_knot_and_the_rest_is_dealt_out():
    values = np.concatenate([np.zeros(900), np.arange(1, 101)]).astype(np.float32)
    knots = find_knots(values)
    assert knots[0] == 0 and knots[-1] == 100
    assert len(knots) == PIECES + 2, "the quantiles of all rows would be 0, but for the last"


@given(
    st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=60),
    st.lists(st.floats(-20, 20, width=32), min_size=2, max_size=20),
)
def test_every_piece_rises_with_the_value_from_zero_to_its_height(learned, asked):
    pieces = Pieces.of(np.array(learned, dtype=np.float32)[:, None])
    columns = pieces.columns(np.sort(np.array(asked, dtype=np.float32))[:, None])
    assert columns.shape == (len(asked), len(pieces.feature)) and columns.dtype == np.float32
    assert (np.diff(columns, axis=0) >= 0).all()
    assert (columns >= 0).all() and (columns <= pieces.rise).all()
    assert (pieces.length > 0).all()
