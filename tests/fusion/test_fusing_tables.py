"""Table models of any kind become an ensemble, judged by answers to rows that no member had been trained on."""

import csv
import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.fusion.making import BRIEFLY, run, spec_for
from workers.compression import recipes
from workers.compression.program import compress
from workers.contract import (
    HELDOUT_FILE,
    TABULAR_CLASSIFICATION,
    TABULAR_REGRESSION,
    CompressSpec,
    EventWriter,
    ProgramFailure,
    TrainSpec,
    read_events,
)
from workers.fusion.tables import check_parity, load_data, write_files
from workers.fusion.work import Work
from workers.inference.files import read_meta
from workers.inference.outcomes import tempered
from workers.inference.predictor import load_predictor
from workers.training.hyperparameters import resolve
from workers.training.stopping import Stop
from workers.training.tables import train
from workers.training.tables.heldout import read_heldout, write_heldout

pytestmark = pytest.mark.xdist_group("fusing tables")  # what the module's fixtures train is trained once

ROWS = 300
SPLITS = ("train", "train", "train", "val", "test")
# Trees that learn the noise as well.
EAGER = {
    "model": "gradient_boosting",
    "trees": 60,
    "folds": 3,
    "tree_learning_rate": 0.4,
    "early_stopping_patience": 50,
}
SETTINGS = {
    "boosting": EAGER,
    "other": EAGER | {"seed": 5},
    "linear": {"model": "linear", "folds": 3},
    "mlp": {"model": "mlp", "epochs": 2, "folds": 1, "hidden_size": 16, "hidden_layers": 1},
}


def write_table(folder: Path, task: str) -> Path:
    """data.csv and index.json: numbers with gaps, a category, and a target that depends on them and on chance."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(3)
    with open(folder / "data.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["a", "b", "c", "target"])
        for _row in range(ROWS):
            a, b = generator.normal(size=2).round(3)
            c = generator.choice(["red", "green", "blue"])
            value = a * b + (c == "red") + 0.5 * generator.normal()
            target = round(value, 3) if task == TABULAR_REGRESSION else ("yes" if value > 0.3 else "no")
            writer.writerow(["" if generator.random() < 0.05 else a, b, c, target])
    kinds = {"a": "numeric", "b": "numeric", "c": "categorical"}
    kinds["target"] = "numeric" if task == TABULAR_REGRESSION else "categorical"
    index = {
        "rows": ROWS,
        "columns": [{"name": name, "type": kind, "missing": 0, "unique": 9} for name, kind in kinds.items()],
        "target": "target",
        "split": [SPLITS[number % len(SPLITS)] for number in range(ROWS)],
    }
    (folder / "index.json").write_text(json.dumps(index))
    return folder


def train_on(data: Path, task: str, name: str) -> Path:
    work = data.parent / f"training-{name}"
    settings = resolve(task, "fast", SETTINGS[name])
    spec = TrainSpec(str(work), task, str(data / "data.csv"), str(data / "index.json"), settings)
    train(spec, EventWriter(work / "events.jsonl"), Stop())
    return (work / "output/model").rename(data.parent / name)


@pytest.fixture(scope="module", params=[TABULAR_CLASSIFICATION, TABULAR_REGRESSION])
def table(request, tmp_path_factory) -> tuple[Path, str, dict[str, Path]]:
    """(data, task, model folder by name)."""
    data = write_table(tmp_path_factory.mktemp("table") / "data", request.param)
    return data, request.param, {name: train_on(data, request.param, name) for name in SETTINGS}


def rows_of(data: Path) -> list[dict[str, str]]:
    with open(data / "data.csv", newline="") as file:
        return [{name: row[name] for name in "abc"} for row in csv.DictReader(file)]


def answers(folder: Path, data: Path) -> np.ndarray:
    return load_predictor(folder, 1).predict(rows_of(data))


def uncalibrated(folder: Path, data: Path) -> np.ndarray:
    """What a model answers before its temperature, of which ensembles are mixed."""
    predictor = load_predictor(folder, 1)
    return predictor.mixed(predictor.encode(rows_of(data)))


def fused_files(table: tuple, names: list[str], work: Path, *more: Path) -> Path:
    """The files of an ensemble, whatever its verdict would be; checked to answer as its parts do."""
    data, task, models = table
    spec = spec_for(work, data, [*(models[name] for name in names), *more], "ensemble", task=task)
    folders = [Path(model.model_dir) for model in spec.models]
    predictors = [load_predictor(folder, 1) for folder in folders]
    made = Work(spec, EventWriter(work / "events.jsonl"), Stop(), [read_meta(folder) for folder in folders], predictors)
    made.folder.mkdir(parents=True)
    write_files(made, temperature=1.25)
    check_parity(made, load_predictor(made.folder, 1), load_data(made))
    return made.folder


@pytest.mark.parametrize("names", [["boosting", "linear", "mlp"], ["linear", "mlp"], ["boosting", "other"]])
def test_an_ensemble_answers_with_the_mean(table, names, tmp_path):
    data, task, models = table
    folder = fused_files(table, names, tmp_path)
    expected = np.mean([uncalibrated(models[name], data) for name in names], axis=0)
    np.testing.assert_allclose(uncalibrated(folder, data), expected, atol=1e-5)
    meta = read_meta(folder)
    if task == TABULAR_CLASSIFICATION:
        np.testing.assert_allclose(answers(folder, data), tempered(expected, 1.25), atol=1e-5)
    else:
        assert "temperature" not in meta
    assert meta["architecture"] == "ensemble"
    graphs = sum(name in ("linear", "mlp") for name in names)
    assert (folder / "model.onnx").exists() == bool(graphs)
    if graphs:
        onnx.checker.check_model(onnx.load(folder / "model.onnx"))
    if names == ["boosting", "linear", "mlp"]:
        assert meta["blend"] == pytest.approx({"trees.0": 1 / 3, "onnx": 2 / 3})


def test_an_ensemble_may_be_part_of_another(table, tmp_path):
    data, _task, models = table
    inner = fused_files(table, ["boosting", "linear"], tmp_path / "inner")
    outer = fused_files(table, ["mlp", "other"], tmp_path / "outer", inner)
    parts = [uncalibrated(folder, data) for folder in (models["mlp"], models["other"], inner)]
    np.testing.assert_allclose(uncalibrated(outer, data), np.mean(parts, axis=0), atol=1e-5)


def temperature_of(folder: Path) -> float:
    return read_meta(folder).get("temperature", 1.0)


def truths_of(data: Path, task: str) -> np.ndarray:
    """Values [N], or one-hot "no" and "yes" [N, 2]."""
    with open(data / "data.csv", newline="") as file:
        targets = np.array([row["target"] for row in csv.DictReader(file)])
    if task == TABULAR_REGRESSION:
        return targets.astype(float)
    return np.stack([targets == "no", targets == "yes"], axis=1).astype(float)


def complement_of(predicted: np.ndarray, truths: np.ndarray) -> np.ndarray:
    """Answers worse than the mean of themselves and `predicted`: values that err to the other side, or probabilities
    that are right about every other row and say nothing about the rest."""
    if predicted.ndim == 1:
        return truths - 0.8 * (predicted - truths)
    return np.where((np.arange(len(truths)) % 2 == 0)[:, None], truths, 0.5)


def test_what_is_better_is_kept_and_measured_as_it_answers(table, tmp_path):
    """The second errs about held-out rows where the first does not, so that together they are nearer to the truth."""
    data, task, models = table
    rows, first = read_heldout(models["boosting"])
    other = copy_of(models["other"], tmp_path / "other")
    second = complement_of(first, truths_of(data, task)[rows])
    write_heldout(other, rows, second)
    result = run(spec_for(tmp_path / "work", data, [models["boosting"], other], "ensemble", task=task))
    assert result["verdict"] == "improved", result["reasons"]
    assert result["rows"] == {"val": 240, "test": 60}
    trained = [json.loads((models[name] / "meta.json").read_text())["metrics"] for name in ("boosting", "other")]
    for part, metrics in zip(result["models"], trained, strict=True):
        assert part["test"] == pytest.approx(metrics["test"], rel=1e-4)
    assert result["models"][0]["validation"] == pytest.approx(trained[0]["val"], rel=1e-3)
    folder = tmp_path / "work/output/model"
    predicted, truths, test = answers(folder, data)[4::5], truths_of(data, task)[4::5], result["fused"]["test"]
    if task == TABULAR_REGRESSION:
        assert np.sqrt(np.mean((predicted - truths) ** 2)) == pytest.approx(test["rmse"], rel=1e-5)
    else:
        assert np.mean(predicted.argmax(axis=1) == truths.argmax(axis=1)) == pytest.approx(test["accuracy"])
        told = result["calibration"]
        assert told["temperature"] == temperature_of(folder) and told["after"] == pytest.approx(test["ece"])
    kept_rows, kept = read_heldout(folder)
    assert kept_rows.tolist() == rows.tolist()
    before = [
        tempered(each, 1 / temperature_of(models[name])) for each, name in ((first, "boosting"), (second, "other"))
    ]
    np.testing.assert_allclose(kept, tempered(np.mean(before, axis=0), temperature_of(folder)), atol=1e-5)


def test_what_is_worse_than_its_best_part_is_not_kept(table, tmp_path):
    data, task, models = table
    wrong = copy_of(models["boosting"], tmp_path / "wrong")
    rows, predicted = read_heldout(wrong)
    write_heldout(wrong, rows, predicted[:, ::-1] if predicted.ndim == 2 else predicted + 9)
    result = run(spec_for(tmp_path, data, [models["boosting"], wrong], "ensemble", task=task))
    assert result["verdict"] == "not_improved" and not (tmp_path / "output/model").exists()


def test_an_ensemble_can_be_compressed(table, tmp_path):
    data, task, models = table
    folder = fused_files(table, ["boosting", "other", "mlp"], tmp_path / "fused")
    settings = recipes.resolve(task, {"recipes": [[{"method": "quantise"}]], "limit_points": 20.0})
    files = [str(folder), str(data / "data.csv"), str(data / "index.json")]
    spec = CompressSpec(str(tmp_path), task, *files, settings, speed_seconds=BRIEFLY)
    compress(spec, EventWriter(tmp_path / "events.jsonl"), Stop())
    told = [event for event, _ in read_events(tmp_path / "events.jsonl") if event["type"] == "candidate"]
    assert told[1]["figures"]["size_ratio"] > 1.5
    smaller = tmp_path / told[1]["folder"]
    assert temperature_of(smaller) == temperature_of(folder)
    gap = np.abs(answers(smaller, data) - answers(folder, data)).mean()
    assert gap < 0.05


def test_held_out_answers_are_of_members_that_had_not_seen_the_row(table):
    """The finished model knows those rows better, as they trained it: it may not be judged by them."""
    data, task, models = table
    rows, heldout = read_heldout(models["boosting"])
    assert rows.tolist() == [number for number in range(ROWS) if number % 5 != 4], "all but the test split"
    seen, truths = answers(models["boosting"], data)[rows], truths_of(data, task)[rows]
    assert np.mean((seen - truths) ** 2) < 0.75 * np.mean((heldout - truths) ** 2)


def copy_of(folder: Path, target: Path) -> Path:
    target.mkdir()
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


def refusal(spec) -> ProgramFailure:
    with pytest.raises(ProgramFailure) as caught:
        run(spec)
    return caught.value


def test_what_cannot_be_judged_or_averaged_is_refused(table, tmp_path):
    data, task, models = table
    pair = [models["boosting"], models["linear"]]
    averaged = refusal(spec_for(tmp_path / "1", data, pair, "uniform", task=task))
    assert averaged.code == "unknown_method" and "ensemble" in averaged.hint
    old = copy_of(models["linear"], tmp_path / "old")
    (old / HELDOUT_FILE).unlink()
    found = refusal(spec_for(tmp_path / "2", data, [models["boosting"], old], "ensemble", task=task))
    assert found.code == "no_heldout_answers" and found.message.startswith("old ")
    meta = read_meta(old)
    meta["encoder"]["columns"][0]["center"] = 99.0
    (old / "meta.json").write_text(json.dumps(meta))
    found = refusal(spec_for(tmp_path / "3", data, [models["boosting"], old], "ensemble", task=task))
    assert found.code == "different_models"
