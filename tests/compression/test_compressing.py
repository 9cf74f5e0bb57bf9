"""The compression program: candidates that load alone, and figures that are true."""

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
from workers.compression.recipes import resolve
from workers.contract import EXIT_FAILED, EXIT_STOPPED, CompressSpec, TrainSpec, read_events, write_spec
from workers.examples.pictures import digit_images
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
    network = MLPClassifier((512, 512), max_iter=30, random_state=0)
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


BRIEFLY = 0.1  # how fast it is depends on what else the machine does
INT8 = [{"method": "quantise"}]
SMALLER_STILL = [{"method": "quantise"}, {"method": "share", "values": 16}]


def spec_for(source: Path, folder: Path, *, asked: dict | None = None, **changes) -> Path:
    """A spec file that compresses the model of `source` in `folder`."""
    is_image = (source / "data.zip").exists()
    names = ("data.zip", "index.jsonl") if is_image else ("data.csv", "index.json")
    task = "image_classification" if is_image else "tabular_classification"
    recipes = [INT8, SMALLER_STILL] if is_image else [INT8]
    values = {
        "work_dir": str(folder),
        "task": task,
        "model_dir": str(source / "model"),
        "data_path": str(source / names[0]),
        "index_path": str(source / names[1]),
        "settings": resolve(task, {"recipes": recipes, "limit_points": 3.0} | (asked or {})),
        "speed_seconds": BRIEFLY,
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_spec(CompressSpec(**values | changes), folder / "spec.json")
    return folder / "spec.json"


def run(spec: Path) -> int:
    return subprocess.run([sys.executable, "-m", "workers.compression", str(spec)], cwd=ROOT).returncode


def events(folder: Path) -> list[dict]:
    return [event for event, _offset in read_events(folder / "events.jsonl")]


def candidates(folder: Path) -> list[dict]:
    return [event for event in events(folder) if event["type"] == "candidate"]


def failure(folder: Path) -> dict:
    return next(event for event in events(folder) if event["type"] == "failure")


@pytest.fixture(scope="module", params=["digits", "table"])
def compressed(request, tmp_path_factory) -> tuple[Path, Path, dict]:
    """(source, work folder, result) of a compression that ran to its end."""
    source = request.getfixturevalue(request.param)
    folder = tmp_path_factory.mktemp("work")
    assert run(spec_for(source, folder)) == 0
    return source, folder, json.loads((folder / "output/result.json").read_text())


def file_size(model_dir: Path) -> int:
    """Bytes of the one file that answers."""
    names = ("model.onnx.packed", "model.onnx", "model.safetensors")
    return next((model_dir / name).stat().st_size for name in names if (model_dir / name).exists())


def test_the_files_are_really_smaller(compressed):
    source, folder, result = compressed
    before, after = file_size(source / "model"), file_size(folder / "output/model")
    assert after < before / 2
    sides = (result["before"]["bytes"], before), (result["after"]["bytes"], after)
    for told, found in sides:
        assert told == found
    assert result["ratios"]["size"] == pytest.approx(result["before"]["bytes"] / result["after"]["bytes"], rel=0.01)
    assert result["verdict"] == "improved"


def test_the_accuracy_of_each_candidate_is_that_of_its_files(compressed, tmp_path):
    """Each is moved away from everything it was made from, loaded, and asked again."""
    source, folder, result = compressed
    inputs, labels = _test_split(source)
    told = candidates(folder)[1:]
    for event in told:
        alone = tmp_path / str(event["number"])
        (folder / event["folder"]).rename(alone)
        try:
            predictor = load_predictor(alone, threads=1)
            predicted = predictor.run(predictor.encode(inputs)).argmax(axis=1)
        finally:
            alone.rename(folder / event["folder"])
        right = [predictor.classes[index] == label for index, label in zip(predicted, labels, strict=True)]
        figures = event["figures"]
        assert figures["metrics"]["accuracy"] == pytest.approx(np.mean(right))
        assert figures["interval"][0] < figures["metrics"]["accuracy"] <= figures["interval"][1]
        assert figures["rows"] == len(labels)
        assert np.mean(right) > result["before"]["metrics"]["accuracy"] - 0.05
    assert result["after"] == told[result["chosen"] - 1]["figures"]
    assert result["metrics"]["test"] == result["after"]["metrics"]


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


def test_size_speed_and_memory_are_measured_of_all(compressed):
    for event in candidates(compressed[1]):
        figures = event["figures"]
        assert 0 < figures["latency_p50_ms"] <= figures["latency_p99_ms"]
        assert 0 < figures["model_latency_p50_ms"] < figures["latency_p50_ms"]
        assert figures["throughput"] > 0
        assert figures["memory_bytes"] > 0


def test_the_original_is_told_of_first(compressed):
    first = candidates(compressed[1])[0]
    assert (first["number"], first["recipe"], first["folder"], first["verdict"]) == (0, [], "", "within")


def test_the_best_candidate_becomes_the_model(compressed):
    _source, folder, result = compressed
    chosen = folder / candidates(folder)[result["chosen"]]["folder"]
    for path in (folder / "output/model").iterdir():
        assert path.read_bytes() == (chosen / path.name).read_bytes()


def test_the_meta_says_what_was_done(compressed):
    _source, folder, result = compressed
    meta = json.loads((folder / "output/model/meta.json").read_text())
    assert meta["compression"]["recipe"][0]["method"] == "quantise"
    assert meta["compression"]["ratios"] == result["ratios"]
    assert meta["metrics"] == result["metrics"]


def test_progress_ends_at_one_and_a_result_is_told(compressed):
    told = events(compressed[1])
    fractions = [event["fraction"] for event in told if event["type"] == "progress"]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    assert told[-1]["type"] == "result"
    assert {event["name"] for event in told if event["type"] == "metric"} >= {"final_accuracy"}


def test_compressing_twice_is_refused(compressed, tmp_path):
    source, folder, _result = compressed
    assert run(spec_for(source, tmp_path, model_dir=str(folder / "output/model"))) == EXIT_FAILED
    assert failure(tmp_path)["code"] == "already_compressed"


def test_an_impossible_limit_leaves_the_original_and_says_so(digits, tmp_path):
    rough = [[{"method": "quantise"}, {"method": "share", "values": 2}]]
    assert run(spec_for(digits, tmp_path, asked={"recipes": rough, "limit_points": 0.0})) == 0
    result = json.loads((tmp_path / "output/result.json").read_text())
    assert (result["verdict"], result["chosen"], result["after"]) == ("not_improved", None, None)
    assert "Every candidate loses more than 0 points" in result["reasons"][0]
    assert not (tmp_path / "output/model").exists()
    assert candidates(tmp_path)[1]["verdict"] == "over"
    assert result["metrics"]["test"] == candidates(tmp_path)[0]["figures"]["metrics"]


def test_what_a_model_does_not_allow_is_said_and_the_rest_is_made(digits, tmp_path):
    """This model has a graph, and no weights that could be trained on."""
    recipes = [[{"method": "prune_channels"}], INT8]
    assert run(spec_for(digits, tmp_path, asked={"recipes": recipes})) == 0
    _original, pruned, rounded = candidates(tmp_path)
    assert (pruned["verdict"], pruned["folder"], pruned["figures"]) == ("failed", "", {})
    assert pruned["reason"] == "The weights that this model was trained to are gone, so it can only be quantised."
    assert rounded["verdict"] == "within"


def test_one_row_to_calibrate_with_is_enough_to_try_and_judged_like_all(digits, tmp_path):
    rows = [json.loads(line) for line in (digits / "index.jsonl").read_text().splitlines()]
    first = next(row for row in rows if row["split"] == "train")
    kept = [first, *(row for row in rows if row["split"] != "train")]
    (tmp_path / "index.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))
    recipes = [INT8, [{"method": "quantise", "ranges": "entropy", "equalise": True, "correct_bias": True}]]
    changes = {"index_path": str(tmp_path / "index.jsonl"), "asked": {"recipes": recipes}}
    assert run(spec_for(digits, tmp_path / "work", **changes)) == 0
    for event in candidates(tmp_path / "work")[1:]:
        assert event["verdict"] in ("within", "over", "no_gain"), event["reason"]
        assert event["figures"]["size_ratio"] > 2


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
    assert run(spec_for(digits, tmp_path / "work", model_dir=str(model), asked={"recipes": [INT8]})) == EXIT_FAILED
    assert failure(tmp_path / "work")["code"] == "nothing_to_compress"


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"model_dir": "/nonexistent"}, "damaged_model"), ({"data_path": "/nonexistent"}, "unreadable_data")],
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


def test_stopped_it_keeps_its_candidates_and_goes_on_after_them(digits, tmp_path):
    spec = spec_for(
        digits, tmp_path, asked={"recipes": [INT8, SMALLER_STILL, [{"method": "quantise", "scheme": "fp16"}]]}
    )
    process = subprocess.Popen([sys.executable, "-m", "workers.compression", str(spec)], cwd=ROOT)
    wait_until(lambda: any(event["type"] == "checkpoint" for event in events(tmp_path)), seconds=60, what="one is kept")
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == EXIT_STOPPED
    assert not (tmp_path / "output/result.json").exists()
    before = candidates(tmp_path)
    again = spec_for(
        digits, tmp_path, resume=True,
        asked={"recipes": [INT8, SMALLER_STILL, [{"method": "quantise", "scheme": "fp16"}]]},
    )  # fmt: skip
    assert run(again) == 0
    told = candidates(tmp_path)
    assert [event["number"] for event in told] == [0, 1, 2, 3], "what was measured before is not measured again"
    assert told[: len(before)] == before
    assert json.loads((tmp_path / "output/result.json").read_text())["verdict"] == "improved"


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
