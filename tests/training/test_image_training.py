"""The training program as it is run: a model that learned, answers alike as ONNX, and stops when asked."""

import json
import signal
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tests.training.images import events_of, make_spec, start, wait_for, write_digits, write_images
from workers.contract import EXIT_FAILED, EXIT_STOPPED, EventWriter, ProgramFailure, TrainSpec, read_spec
from workers.images import decode
from workers.inference.parity import answer_to_sample, difference_from_record
from workers.inference.predictor import load_predictor
from workers.training.batches import Draws
from workers.training.classifiers import sort_classes, split_rows
from workers.training.image_data import AUGMENTATIONS, ImageRow, choose_size
from workers.training.image_models import ImageClassifier, ImageProbabilities
from workers.training.images import train
from workers.training.stopping import Stop

pytestmark = pytest.mark.xdist_group("image training")  # what the module's fixture makes is made once


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digits(tmp_path_factory.mktemp("digits"), 500)


@pytest.fixture(scope="module")
def trained(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work folder of a finished training on 400 digits."""
    work = tmp_path_factory.mktemp("trained")
    spec = make_spec(work, digits, epochs=6, batch_size=16, learning_rate=0.02, scheduler="linear")
    assert start(spec).wait(timeout=120) == 0, events_of(work)[-2:]
    return work


def result_of(work: Path) -> dict:
    return json.loads((work / "output" / "result.json").read_text())


def meta_of(work: Path) -> dict:
    return json.loads((work / "output" / "model" / "meta.json").read_text())


def session_of(work: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(work / "output" / "model" / "model.onnx"))


def test_a_few_epochs_learn_digits(trained: Path) -> None:
    result = result_of(trained)
    assert result["metrics"]["test"]["accuracy"] >= 0.85
    assert result["metrics"]["val"].keys() == {"accuracy", "macro_f1", "log_loss", "ece", "auc"}
    calibration = result["calibration"]
    assert calibration["after"] == pytest.approx(result["metrics"][result["confusion"]["split"]]["ece"])
    assert calibration["temperature"] > 0 and calibration["before"] >= 0
    matrix = np.array(result["confusion"]["matrix"])
    assert matrix.sum() == 50
    assert np.trace(matrix) / 50 == pytest.approx(result["metrics"]["test"]["accuracy"])
    assert result["confusion"]["labels"] == [str(digit) for digit in range(10)]
    assert len(result["history"]) == result["epochs"] == 6
    assert result["model_bytes"] == (trained / "output" / "model" / "model.onnx").stat().st_size


def test_mistakes_are_pictures_with_the_surest_first(trained: Path) -> None:
    mistakes = result_of(trained)["mistakes"]
    wrong = 50 - np.trace(np.array(result_of(trained)["confusion"]["matrix"]))
    assert len(mistakes) == min(24, wrong)
    assert [item["probability"] for item in mistakes] == sorted((m["probability"] for m in mistakes), reverse=True)
    for item in mistakes:
        assert item["true"] != item["predicted"]
        assert item["source"].startswith(f"test/{item['true']}/")
        with Image.open(trained / "output" / item["image"]) as image:
            assert image.size == (8, 8)


def test_the_graph_and_the_weights_answer_alike_for_any_number_of_images(trained: Path) -> None:
    meta, folder = meta_of(trained), trained / "output" / "model"
    classifier = ImageClassifier(**meta["architecture_args"])
    classifier.load_state_dict(load_file(folder / "model.safetensors"))
    side = meta["input"]["height"]
    images = np.random.default_rng(0).integers(0, 256, (5, side, side, 1), dtype=np.uint8)
    with torch.no_grad():
        expected = classifier.eval()(torch.from_numpy(images)).softmax(dim=1).numpy()
    for count in (1, 5):
        (answers,) = session_of(trained).run(["probabilities"], {"image": images[:count]})
        assert np.abs(answers - expected[:count]).max() < 1e-4
        assert answers.sum(axis=1) == pytest.approx(np.ones(count), abs=1e-5)


def test_the_graph_normalises_inside_and_has_no_batch_norm_left(trained: Path) -> None:
    graph = onnx.load(trained / "output" / "model" / "model.onnx")
    onnx.checker.check_model(graph)
    assert graph.opset_import[0].version >= 17
    assert "BatchNormalization" not in {node.op_type for node in graph.graph.node}
    (image,) = session_of(trained).get_inputs()
    assert (image.name, image.type, image.shape[1:]) == ("image", "tensor(uint8)", [16, 16, 1])


def test_the_answer_to_the_sample_is_recorded(trained: Path) -> None:
    folder = trained / "output" / "model"
    assert len(answer_to_sample(load_predictor(folder, threads=1))) == 10
    assert difference_from_record(load_predictor(folder, threads=1), folder)[0] < 1e-6


def test_meta_says_how_to_use_the_model_and_the_sample_works(trained: Path) -> None:
    meta = meta_of(trained)
    assert meta["input"] == {
        "kind": "image", "height": 16, "width": 16, "channels": 1, "resize": "bilinear, squash",
    }  # fmt: skip
    assert (meta["format"], meta["runtime"], meta["architecture"]) == (1, "onnx", "resnet_tiny")
    assert meta["metrics"] == result_of(trained)["metrics"]
    body = (trained / "output" / "model" / meta["sample"]).read_bytes()
    (answers,) = session_of(trained).run(None, {"image": decode(body, 16, 16, 1)[None]})
    assert answers.shape == (1, len(meta["classes"]))


def test_events_tell_the_story_from_start_to_result(trained: Path) -> None:
    events = events_of(trained)
    assert events[0]["type"] == "progress"
    assert events[-1]["type"] == "result"
    assert events[-1]["summary"]["metrics"] == result_of(trained)["metrics"]
    fractions = [event["fraction"] for event in events if event["type"] == "progress"]
    assert fractions == sorted(fractions)
    curves = {(event["name"], event["split"]) for event in events if event["type"] == "metric"}
    assert curves == {("loss", "train"), ("learning_rate", "train"), ("loss", "val"), ("accuracy", "val")}


def train_here(spec: Path) -> None:
    """Train in this process, which saves the start of another."""
    train(read_spec(TrainSpec, spec), EventWriter(spec.parent / "events.jsonl"), Stop())


def is_training(events: list[dict]) -> bool:
    return any(event.get("step", 0) >= 15 for event in events if event["type"] == "metric")


def test_sigterm_leaves_a_checkpoint_and_training_goes_on_from_it(digits: Path, tmp_path: Path) -> None:
    process = start(make_spec(tmp_path, digits, epochs=60))
    wait_for(tmp_path, is_training)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == EXIT_STOPPED
    kept = [event for event in events_of(tmp_path) if event["type"] == "checkpoint"][-1]
    assert (tmp_path / kept["path"] / "manifest.json").exists()
    before = len(events_of(tmp_path))

    process = start(make_spec(tmp_path, digits, resume=True, epochs=60))
    wait_for(tmp_path, lambda events: is_training(events[before:]))
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == EXIT_STOPPED
    steps = [event["step"] for event in events_of(tmp_path)[before:] if event["type"] == "metric"]
    assert min(steps) > kept["step"]


def test_a_wrong_setting_fails_before_anything_is_read(digits: Path, tmp_path: Path) -> None:
    spec = make_spec(tmp_path, tmp_path / "no data")
    spec.write_text(spec.read_text().replace('"epochs": 10', '"epochs": 0'))
    assert start(spec).wait(timeout=30) == EXIT_FAILED
    failure = events_of(tmp_path)[-1]
    assert (failure["code"], failure["field"], failure["blame"]) == ("out_of_range", "epochs", "settings")


def test_one_class_is_refused(tmp_path: Path) -> None:
    data = write_images(tmp_path / "data", [("only", "train", np.zeros((8, 8), np.uint8))] * 10)
    with pytest.raises(ProgramFailure) as caught:
        train_here(make_spec(tmp_path, data))
    assert caught.value.code == "one_class"


def test_colour_images_of_many_sizes_without_val_and_test_are_trained_too(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    items = []
    for number in range(24):
        pixels = random.integers(0, 80, (20 + number % 5, 30, 3), dtype=np.uint8)
        pixels[..., 2 * (number % 2)] += 150
        items.append((("red", "blue")[number % 2], "train", pixels))
    data = write_images(tmp_path / "data", items)
    work = tmp_path / "work"
    train_here(make_spec(work, data, epochs=2, image_size=0, augmentation="strong"))
    assert meta_of(work)["input"]["channels"] == 3
    assert meta_of(work)["input"]["height"] == 24
    assert result_of(work)["metrics"].keys() == {"val"}
    assert result_of(work)["confusion"]["split"] == "val"


def test_a_damaged_archive_is_named(tmp_path: Path, digits: Path) -> None:
    index = (digits / "index.jsonl").read_text()
    data = write_images(tmp_path / "data", [("0", "train", np.zeros((8, 8), np.uint8))])
    (data / "index.jsonl").write_text(index)
    with pytest.raises(ProgramFailure) as caught:
        train_here(make_spec(tmp_path, data))
    assert caught.value.code == "unreadable_data"
    assert "00001.png" in caught.value.message


def row(side: int, label: str = "a", split: str = "train") -> ImageRow:
    return ImageRow("m", label, split, side, side, "s")


def test_the_size_fits_the_images() -> None:
    assert choose_size([row(28)] * 3, 64) == 28
    assert choose_size([row(8)] * 3, 64) == 16
    assert choose_size([row(300), row(500)], 64) == 64
    assert choose_size([row(30), row(36), row(38)], 64) == 32


def test_classes_are_sorted_as_people_count() -> None:
    assert sort_classes(["10", "2", "1", "2"]) == ["1", "2", "10"]
    assert sort_classes(["b", "10", "a"]) == ["10", "a", "b"]


def test_a_tenth_of_each_class_becomes_validation_where_there_is_none() -> None:
    rows = [row(8)] * 60 + [row(8, "b")] * 20
    labels = np.array([0] * 60 + [1] * 20)
    splits = split_rows([row.split for row in rows], labels, 0, "image")
    assert np.bincount(labels[splits["val"]]).tolist() == [6, 2]
    assert len(np.union1d(splits["train"], splits["val"])) == 80 == len(splits["train"]) + len(splits["val"])


@pytest.mark.parametrize("name", ["light", "strong"])
def test_augmentation_changes_images_a_little_and_the_same_for_a_seed(name: str) -> None:
    images = torch.zeros(16, 20, 20, 3, dtype=torch.uint8)
    images[:, 5:15, 5:15] = 200
    changed = [AUGMENTATIONS[name]((images,), Draws(seed, 16))[0] for seed in (1, 1, 2)]
    assert torch.equal(changed[0], changed[1])
    assert not torch.equal(changed[0], changed[2])
    assert changed[0].shape == images.shape
    assert changed[0].min() >= 0 and changed[0].max() <= 255
    assert 1 < (changed[0] - images).abs().mean() < 60


@pytest.mark.parametrize("colours", [1, 3])
def test_changed_images_lie_in_memory_as_stored_ones_do(colours):
    """Networks are slower on images whose colours lie one after the other."""
    stored = torch.zeros(4, 8, 8, colours, dtype=torch.uint8)
    (changed,) = AUGMENTATIONS["strong"]((stored,), Draws(0, 4))
    assert changed.stride() == stored.stride()


def test_light_augmentation_never_mirrors() -> None:
    ramp = torch.linspace(0, 255, 20).to(torch.uint8).reshape(1, 1, 20, 1).expand(32, 20, 20, 1)
    (changed,) = AUGMENTATIONS["light"]((ramp,), Draws(0, 32))
    assert (changed[:, :, -4:].mean(dim=(1, 2, 3)) > changed[:, :, :4].mean(dim=(1, 2, 3))).all()


def test_folding_the_normalisation_changes_no_answer() -> None:
    torch.manual_seed(0)
    model = ImageClassifier(channels=3, classes=4, widths=(8, 16), blocks=2, stem_stride=2, dropout=0.1,
                            mean=[100.0] * 3, deviation=[50.0] * 3)  # fmt: skip
    images = torch.randint(0, 256, (8, 48, 40, 3), dtype=torch.uint8)
    for _ in range(5):
        model.train()(images)
    model.divide_logits(0.5)
    with torch.no_grad():
        difference = ImageProbabilities(model)(images) - model.eval()(images).softmax(dim=1)
    assert difference.abs().max() < 1e-5
