"""A classifier of images on a pretrained encoder: it sees them as the checkpoint did, learns, and answers alike as a
graph."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoImageProcessor

from tests.pretrained.making import PREPROCESSOR, save_image_encoder
from tests.training.here import read
from tests.training.images import make_spec, write_digits
from tests.training.stopping import StopAfter
from workers.contract import EventWriter, ProgramFailure, TrainSpec, read_spec
from workers.inference.predictor import load_predictor
from workers.parallel.processes import Processes
from workers.pretrained.families import IMAGE_ENCODERS
from workers.training import __main__ as program
from workers.training.export import export_onnx, largest_difference
from workers.training.image_models import ImageProbabilities
from workers.training.images import train
from workers.training.pretrained.adapting import adapted_layers, prepare, settle
from workers.training.pretrained.bodies import config_of, load_body
from workers.training.pretrained.images import PretrainedImage, scale_of, seen_by
from workers.training.stopping import Stop, Stopped
from workers.training.subjects import load_classifier, subject_of

MEAN, DEVIATION = [100.0, 120.0, 140.0], [50.0, 60.0, 70.0]
IMAGES = torch.randint(0, 256, (3, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digits(tmp_path_factory.mktemp("digits"), 300)


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_image_encoder(tmp_path_factory.mktemp("checkpoints") / "tiny-vit")


def spec_from(work: Path, data: Path, start: Path, *, resume: bool = False, **settings: object) -> TrainSpec:
    chosen = {"start_from": start.name, "model": "auto", "learning_rate": 0.01, "image_size": 0, "epochs": 2} | settings
    return replace(read_spec(TrainSpec, make_spec(work, data, resume=resume, **chosen)), start_dir=str(start))


def train_from(work: Path, data: Path, start: Path, **settings: object) -> Path:
    train(spec_from(work, data, start, **settings), EventWriter(work / "events.jsonl"), Stop())
    return work / "output"


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    resnet = save_image_encoder(tmp_path_factory.mktemp("checkpoints") / "tiny-resnet", "resnet")
    settings = {"fine_tuning": "full", "body_rate": 1.0, "layer_decay": 1.0, "epochs": 10}
    return train_from(tmp_path_factory.mktemp("work"), data, resnet, **settings)


def test_a_training_from_a_checkpoint_learns_digits_and_says_what_it_started_from(trained: Path) -> None:
    assert read(trained / "result.json")["metrics"]["test"]["accuracy"] >= 0.7
    meta = read(trained / "model" / "meta.json")
    assert (meta["start"]["name"], meta["start"]["label"], meta["start"]["license"]) == (
        "tiny-resnet",
        "ResNet",
        "apache-2.0",
    )
    assert (meta["input"]["width"], meta["input"]["channels"]) == (16, 3)  # grey digits are shown in colour


def test_the_graph_answers_as_the_weights_do(trained: Path) -> None:
    folder = trained / "model"
    predictor, model = load_predictor(folder, 1), load_classifier(folder, read(folder / "meta.json"))
    with torch.no_grad():
        expected = model(IMAGES).softmax(dim=1).numpy()
    assert np.abs(predictor.run(IMAGES.numpy()) - expected).max() < 1e-4


def test_a_compression_sees_images_as_the_model_does(trained: Path, data: Path, vit: Path, tmp_path: Path) -> None:
    meta, spec = read(trained / "model" / "meta.json"), spec_from(tmp_path, data, vit)
    events = EventWriter(tmp_path / "events.jsonl")
    found = subject_of(spec.task).load_data(
        replace(spec, start_dir=""), meta, trained / "model", events, Stop(), Processes()
    )
    assert found.store.shape[1:] == (16, 16, 3)


def test_pixels_are_normalised_as_the_checkpoints_own_processor_does(vit: Path, tmp_path: Path) -> None:
    known = PREPROCESSOR | {"image_processor_type": "ViTImageProcessor", "do_resize": False}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(known))
    theirs = AutoImageProcessor.from_pretrained(tmp_path, local_files_only=True, backend="pil")
    expected = theirs(Image.fromarray(IMAGES[0].numpy()), return_tensors="np")["pixel_values"][0]
    mean, deviation = (np.array(values).reshape(3, 1, 1) for values in scale_of(known))
    assert np.abs((IMAGES[0].permute(2, 0, 1).numpy() - mean) / deviation - expected).max() < 1e-5


@pytest.mark.parametrize(
    ("preprocessor", "side"),
    [({"size": 24}, 24), ({"size": {"shortest_edge": 32}, "crop_size": {"height": 24, "width": 24}}, 24), ({}, 224)],
)
def test_images_are_shown_at_the_side_that_the_checkpoint_was_trained_at(
    preprocessor: dict, side: int, data: Path, tmp_path: Path
) -> None:
    start = save_image_encoder(tmp_path / "tiny-resnet", "resnet")
    (start / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    assert seen_by(spec_from(tmp_path, data, start)).side == side
    assert seen_by(spec_from(tmp_path, data, start, image_size=20)).side == 20


def test_an_encoder_of_one_side_keeps_it_whatever_is_asked(data: Path, vit: Path, tmp_path: Path) -> None:
    assert seen_by(spec_from(tmp_path, data, vit, image_size=32)).side == 16


@pytest.mark.parametrize("family", sorted(IMAGE_ENCODERS))
def test_every_family_that_is_offered_is_loaded_and_exported_and_can_be_adapted(family: str, tmp_path: Path) -> None:
    body = load_body(save_image_encoder(tmp_path, family))
    common = {"mean": MEAN, "deviation": DEVIATION, "classes": 3, "dropout": 0.0}
    config = json.loads(json.dumps(config_of(body)))
    model, again = PretrainedImage(config=config, body=body, **common), PretrainedImage(config=config, **common)
    again.load_state_dict(model.state_dict())
    export_onnx(ImageProbabilities(again), {"image": IMAGES}, "probabilities", tmp_path / "model.onnx")
    more = torch.randint(0, 256, (5, 16, 16, 3), dtype=torch.uint8)
    assert largest_difference(ImageProbabilities(model), {"image": more}, tmp_path / "model.onnx") < 1e-4
    prepare(model, {"fine_tuning": "lora", "lora_rank": 2, "lora_alpha": 4.0, "dropout": 0.0})
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.1)
    with torch.no_grad():
        before = model.eval()(IMAGES)
        settle(model)
        assert torch.allclose(model(IMAGES), before, atol=1e-4)
    assert adapted_layers(model.body)


def test_the_head_alone_leaves_the_body_as_it_was(data: Path, vit: Path, tmp_path: Path) -> None:
    output = train_from(tmp_path, data, vit, fine_tuning="head", epochs=1)
    before, after = load_body(vit).state_dict(), load_file(output / "model" / "model.safetensors")
    assert len(before) > 20 and all(torch.equal(after[f"body.{name}"], value) for name, value in before.items())


def test_a_training_that_was_stopped_ends_as_if_it_had_not_been(data: Path, vit: Path, tmp_path: Path) -> None:
    settings = {"fine_tuning": "lora", "augmentation": "light"}
    whole = train_from(tmp_path / "whole", data, vit, **settings)
    events = EventWriter(tmp_path / "cut" / "events.jsonl")
    with pytest.raises(Stopped):
        train(spec_from(tmp_path / "cut", data, vit, **settings), events, StopAfter(9))
    train(spec_from(tmp_path / "cut", data, vit, resume=True, **settings), events, Stop())
    ends = [read(folder / "result.json") for folder in (whole, tmp_path / "cut" / "output")]
    assert ends[0]["history"] == ends[1]["history"]


def test_several_processes_are_refused(data: Path, vit: Path, tmp_path: Path) -> None:
    spec = replace(spec_from(tmp_path, data, vit), plan={"world_size": 2})
    with pytest.raises(ProgramFailure) as caught:
        program.run(spec, EventWriter(tmp_path / "events.jsonl"), Stop())
    assert caught.value.code == "unsupported_strategy"
