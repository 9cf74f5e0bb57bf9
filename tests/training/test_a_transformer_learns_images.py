"""A small vision transformer is trained as any network: by its name, from scratch, to a graph that is served."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file

from tests.training.images import events_of, make_spec, start, write_digits
from workers.inference.predictor import load_predictor
from workers.training.architectures import arguments_of
from workers.training.image_models import VisionTransformer, build_classifier


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of a training on 400 digits."""
    work = tmp_path_factory.mktemp("trained")
    data = write_digits(tmp_path_factory.mktemp("digits"), 500)
    spec = make_spec(work, data, model="vit_tiny", epochs=12, batch_size=32, augmentation="none")
    assert start(spec).wait(timeout=300) == 0, events_of(work)[-2:]
    return work / "output" / "model"


def test_it_learns_digits_from_few_images(trained: Path) -> None:
    meta = json.loads((trained / "meta.json").read_text())
    assert meta["architecture"] == "vit_tiny"
    assert meta["metrics"]["test"]["accuracy"] >= 0.4  # of ten classes; it needs more images than a residual network


def test_its_weights_and_its_graph_answer_alike(trained: Path) -> None:
    meta = json.loads((trained / "meta.json").read_text())
    model = build_classifier(meta["architecture"], meta["architecture_args"])
    assert isinstance(model, VisionTransformer)
    model.load_state_dict(load_file(trained / "model.safetensors"))
    predictor, body = load_predictor(trained, threads=1), (trained / meta["sample"]).read_bytes()
    pixels = predictor.encode([body])
    with torch.no_grad():
        wanted = model.eval()(torch.from_numpy(pixels)).softmax(dim=1).numpy()
    operators = {node.op_type for node in onnx.load(trained / "model.onnx").graph.node}
    assert "BatchNormalization" not in operators
    np.testing.assert_allclose(predictor.run(pixels), wanted, atol=1e-4)


@pytest.mark.parametrize(("side", "tokens"), [(16, 64), (28, 49), (40, 100), (64, 64), (96, 36)])
def test_images_of_every_size_become_about_as_many_patches(side: int, tokens: int) -> None:
    arguments = arguments_of("vit_tiny", side)
    model = build_classifier(
        "vit_tiny", arguments | {"channels": 3, "classes": 4, "dropout": 0.0, "mean": [0.0] * 3, "deviation": [1.0] * 3}
    )
    first = next(iter(model.layers().values()))
    images = torch.zeros(2, side, side, 3, dtype=torch.uint8)
    assert first(images).shape == (2, tokens, 64)
    assert model(images).shape == (2, 4)
