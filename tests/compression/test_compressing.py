"""The compression program: smaller files that load alone, and figures that are true."""

import csv
import json
import random
import signal
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from sklearn.neural_network import MLPClassifier

from tests.inference.models import image_model
from tests.stack import ROOT, wait_until
from workers.compression.graphs import shorten
from workers.compression.program import judge
from workers.contract import EXIT_FAILED, EXIT_STOPPED, CompressSpec, TrainSpec, read_events, write_spec
from workers.examples import digit_images
from workers.inference.predictor import load_predictor

pytestmark = pytest.mark.xdist_group("compression")  # what the module's fixtures train is trained once

SPLITS = ("train", "train", "train", "val", "test")


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Path:
    """A folder with data.zip, index.jsonl, and model/: a small network for 600 handwritten digits."""
    folder = tmp_path_factory.mktemp("digits")
    items = list(digit_images())
    random.Random(0).shuffle(items)
    with zipfile.ZipFile(folder / "data.zip", "w") as archive, open(folder / "index.jsonl", "w") as index:
        for number, (name, body) in enumerate(items[:600]):
            archive.writestr(name, body)
            row = {"member": name, "label": name.split("/")[1], "split": SPLITS[number % len(SPLITS)]}
            index.write(json.dumps(row) + "\n")
    classes = [str(number) for number in range(10)]
    sample = next(body for name, body in items if name.split("/")[1] == "7")
    image_model(folder / "model", classes=tuple(classes), sample=sample)
    _train_digits(folder)
    return folder


def _train_digits(folder: Path) -> None:
    """Put a trained network in the place of the graph that image_model made."""
    rows = [json.loads(line) for line in (folder / "index.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["split"] == "train"]
    meta = json.loads((folder / "model/meta.json").read_text())
    archive = zipfile.ZipFile(folder / "data.zip")
    images = load_shape(folder / "model").encode([archive.read(row["member"]) for row in rows])
    network = MLPClassifier((96, 96), max_iter=60, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it need not converge to be worth compressing
        network.fit(images.reshape(len(images), -1) / 255.0, [meta["classes"].index(row["label"]) for row in rows])
    onnx.save(_network_graph(network), folder / "model/model.onnx")


def load_shape(model_dir: Path):
    """The predictor of the hand-made model: it decodes as the trained one will."""
    return load_predictor(model_dir, threads=1)


def _network_graph(network: MLPClassifier) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["scaled"]),
        helper.make_node("Flatten", ["scaled"], ["hidden_0"]),
    ]
    constants = [onnx.numpy_helper.from_array(np.array(1 / 255, dtype=np.float32), "scale")]
    last = len(network.coefs_) - 1
    for number, (weights, bias) in enumerate(zip(network.coefs_, network.intercepts_, strict=True)):
        constants.append(onnx.numpy_helper.from_array(weights.astype(np.float32), f"weights_{number}"))
        constants.append(onnx.numpy_helper.from_array(bias.astype(np.float32), f"bias_{number}"))
        inputs = [f"hidden_{number}", f"weights_{number}", f"bias_{number}"]
        nodes.append(helper.make_node("Gemm", inputs, [f"sum_{number}"]))
        kind = "Relu" if number < last else "Softmax"
        nodes.append(helper.make_node(kind, [f"sum_{number}"], [f"hidden_{number + 1}"]))
    nodes[-1].output[0] = "probabilities"
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 8, 8, 1])
    output = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 10])
    graph = helper.make_graph(nodes, "network", [image], [output], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    """A folder with data.csv, index.json, and a gradient boosting model that the training program has made."""
    folder = tmp_path_factory.mktemp("table")
    rng = np.random.default_rng(0)
    with open(folder / "data.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["a", "b", "c", "target"])
        for _row in range(500):
            a, b = rng.normal(size=2).round(3)
            c = rng.choice(["red", "green", "blue"])
            writer.writerow(["" if rng.random() < 0.05 else a, b, c, "yes" if a * b > 0 or c == "red" else "no"])
    kinds = {"a": "numeric", "b": "numeric", "c": "categorical", "target": "categorical"}
    index = {
        "rows": 500,
        "columns": [{"name": name, "type": kind, "missing": 0, "unique": 9} for name, kind in kinds.items()],
        "target": "target",
        "split": [SPLITS[number % len(SPLITS)] for number in range(500)],
    }
    (folder / "index.json").write_text(json.dumps(index))
    settings = {"model": "gradient_boosting", "trees": 40, "folds": 1}
    data = {"data_path": str(folder / "data.csv"), "index_path": str(folder / "index.json")}
    spec = TrainSpec(str(folder), "tabular_classification", hyperparameters=settings, **data)
    write_spec(spec, folder / "train.json")
    subprocess.run([sys.executable, "-m", "workers.training", str(folder / "train.json")], cwd=ROOT, check=True)
    (folder / "output/model").rename(folder / "model")
    return folder


def spec_for(source: Path, folder: Path, **changes) -> Path:
    """A spec file that compresses the model of `source` in `folder`."""
    is_image = (source / "data.zip").exists()
    names = ("data.zip", "index.jsonl") if is_image else ("data.csv", "index.json")
    values = {
        "work_dir": str(folder),
        "task": "image_classification" if is_image else "tabular_classification",
        "model_dir": str(source / "model"),
        "data_path": str(source / names[0]),
        "index_path": str(source / names[1]),
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_spec(CompressSpec(**values | changes), folder / "spec.json")
    return folder / "spec.json"


def run(spec: Path) -> int:
    return subprocess.run([sys.executable, "-m", "workers.compression", str(spec)], cwd=ROOT).returncode


def events(folder: Path) -> list[dict]:
    return [event for event, _offset in read_events(folder / "events.jsonl")]


def failure(folder: Path) -> dict:
    return next(event for event in events(folder) if event["type"] == "failure")


@pytest.fixture(scope="module", params=["digits", "table"])
def compressed(request, tmp_path_factory) -> tuple[Path, Path, dict]:
    """(source, work folder, result) of a compression that ran to its end."""
    source = request.getfixturevalue(request.param)
    folder = tmp_path_factory.mktemp("work")
    assert run(spec_for(source, folder)) == 0
    return source, folder, json.loads((folder / "output/result.json").read_text())


def test_the_files_are_really_smaller(compressed):
    source, folder, result = compressed
    name = "model.onnx" if (folder / "output/model/model.onnx").exists() else "model.safetensors"
    before, after = ((place / name).stat().st_size for place in (source / "model", folder / "output/model"))
    assert after < before / 2
    assert result["ratios"]["size"] == pytest.approx(result["before"]["bytes"] / result["after"]["bytes"], abs=0.01)
    assert result["after"]["bytes"] <= sum(path.stat().st_size for path in (folder / "output/model").iterdir())
    assert result["ratios"]["size"] > 1.5


def test_the_accuracy_it_states_is_that_of_the_file(compressed, tmp_path):
    """The model is moved away from everything it was made from, loaded, and asked again."""
    source, folder, result = compressed
    alone = tmp_path / "alone"
    (folder / "output/model").rename(alone)
    try:
        inputs, labels = _test_split(source)
        predictor = load_predictor(alone, threads=1)
        predicted = predictor.run(predictor.encode(inputs)).argmax(axis=1)
    finally:
        alone.rename(folder / "output/model")
    accuracy = np.mean([predictor.classes[index] == label for index, label in zip(predicted, labels, strict=True)])
    assert result["after"]["accuracy"] == pytest.approx(accuracy)
    assert result["metrics"]["test"]["accuracy"] == pytest.approx(accuracy)
    assert accuracy > result["before"]["accuracy"] - 0.03
    assert accuracy > 0.8


def _test_split(source: Path) -> tuple[list, list[str]]:
    if (source / "data.zip").exists():
        rows = [json.loads(line) for line in (source / "index.jsonl").read_text().splitlines()]
        rows = [row for row in rows if row["split"] == "test"]
        archive = zipfile.ZipFile(source / "data.zip")
        return [archive.read(row["member"]) for row in rows], [row["label"] for row in rows]
    splits = json.loads((source / "index.json").read_text())["split"]
    with open(source / "data.csv", newline="") as file:
        rows = [row for row, split in zip(csv.DictReader(file), splits, strict=True) if split == "test"]
    return [{key: row[key] for key in "abc"} for row in rows], [row["target"] for row in rows]


def test_speed_is_measured_for_both(compressed):
    result = compressed[2]
    for side in ("before", "after"):
        figures = result[side]
        assert 0 < figures["latency_p50_ms"] <= figures["latency_p99_ms"]
        assert 0 < figures["model_latency_p50_ms"] < figures["latency_p50_ms"]
        assert figures["throughput"] > 0


def test_the_meta_says_what_was_done(compressed):
    _source, folder, result = compressed
    meta = json.loads((folder / "output/model/meta.json").read_text())
    assert meta["compression"]["method"] == "int8"
    assert meta["compression"]["ratios"] == result["ratios"]
    assert meta["metrics"] == result["metrics"]


def test_progress_ends_at_one_and_a_result_is_told(compressed):
    told = events(compressed[1])
    fractions = [event["fraction"] for event in told if event["type"] == "progress"]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    assert told[-1]["type"] == "result"
    assert {event["name"] for event in told if event["type"] == "metric"} >= {"final_accuracy"}


def test_weights_of_the_graph_are_eight_bits(compressed):
    graph_file = compressed[1] / "output/model/model.onnx"
    if not graph_file.exists():
        assert (compressed[1] / "output/model/model.safetensors").exists()
        return
    weights = [item for item in onnx.load(graph_file).graph.initializer if len(item.dims) == 2]
    assert {item.data_type for item in weights} == {TensorProto.INT8}


def test_compressing_twice_is_refused(compressed, tmp_path):
    source, folder, _result = compressed
    assert run(spec_for(source, tmp_path, model_dir=str(folder / "output/model"))) == EXIT_FAILED
    assert failure(tmp_path)["code"] == "already_compressed"


def test_a_graph_without_weights_has_nothing_to_compress(digits, tmp_path):
    model = image_model(tmp_path / "model", classes=("0", "1"))
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("Concat", ["mean", "mean"], ["both"], axis=1),
        helper.make_node("Softmax", ["both"], ["probabilities"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 8, 8, 1])
    output = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 2])
    graph = helper.make_graph(nodes, "plain", [image], [output])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), model / "model.onnx")
    assert run(spec_for(digits, tmp_path / "work", model_dir=str(model))) == EXIT_FAILED
    assert failure(tmp_path / "work")["code"] == "nothing_to_compress"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"method": "magic"}, "unknown_method"),
        ({"model_dir": "/nonexistent"}, "damaged_model"),
        ({"data_path": "/nonexistent"}, "unreadable_data"),
    ],
)
def test_bad_input_gets_a_sentence(digits, tmp_path, changes, code):
    assert run(spec_for(digits, tmp_path, **changes)) == EXIT_FAILED
    said = failure(tmp_path)
    assert said["code"] == code and said["message"].endswith(".") and said["hint"]


def test_a_damaged_graph_gets_a_sentence(digits, tmp_path):
    model = image_model(tmp_path / "model")
    (model / "model.onnx").write_bytes((model / "model.onnx").read_bytes()[:50])
    assert run(spec_for(digits, tmp_path / "work", model_dir=str(model))) == EXIT_FAILED
    assert failure(tmp_path / "work")["code"] == "damaged_model"


def test_it_stops_when_asked(digits, tmp_path):
    command = [sys.executable, "-m", "workers.compression", str(spec_for(digits, tmp_path))]
    process = subprocess.Popen(command, cwd=ROOT)
    wait_until(lambda: "Measuring speed" in str(events(tmp_path)), seconds=60, what="it measures speed")
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == EXIT_STOPPED
    assert not (tmp_path / "output/result.json").exists()


def test_shortening_names_changes_no_answer(digits, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    for path in (digits / "model").iterdir():
        (model / path.name).write_bytes(path.read_bytes())
    inputs, _labels = _test_split(digits)
    before = load_predictor(model, threads=1)
    expected = before.run(before.encode(inputs))
    shorten(model / "model.onnx")
    after = load_predictor(model, threads=1)
    assert np.array_equal(after.run(after.encode(inputs)), expected)


@pytest.mark.parametrize(
    ("after", "ratios", "is_improved"),
    [
        ({"accuracy": 0.90}, {"size": 3.5, "speed": 1.2}, True),
        ({"accuracy": 0.895}, {"size": 3.5, "speed": 0.9}, True),
        ({"accuracy": 0.85}, {"size": 3.5, "speed": 1.2}, False),
        ({"accuracy": 0.90}, {"size": 1.02, "speed": 1.2}, False),
        ({"accuracy": 0.90}, {"size": 3.5, "speed": 0.5}, False),
    ],
)
def test_the_verdict_is_honest(after, ratios, is_improved):
    found, reasons = judge({"accuracy": 0.90}, after, ratios)
    assert found is is_improved
    assert len(reasons) == 3


def test_a_regression_is_judged_by_its_error():
    ratios = {"size": 3.0, "speed": 1.0}
    assert judge({"rmse": 100.0}, {"rmse": 100.5}, ratios)[0]
    assert not judge({"rmse": 100.0}, {"rmse": 110.0}, ratios)[0]
