"""A node measures what a model takes there, layer by layer; until then it is estimated by arithmetic."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stack import ROOT
from workers.contract import write_spec
from workers.parallel.estimates import estimate_profile, step_flops
from workers.parallel.facts import ModelProfile
from workers.parallel.profiling import build_model
from workers.parallel.shapes import ProfileSpec, Shape, shape_of
from workers.training.hyperparameters import resolve

SHAPE = Shape("resnet_tiny", side=24, classes=5)

pytestmark = pytest.mark.xdist_group("measured")  # what the module's fixture makes is made once


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> dict:
    """What the program left, run as a node runs it."""
    folder = tmp_path_factory.mktemp("profile")
    spec = ProfileSpec(str(folder), {"architecture": "resnet_tiny", "side": 24, "classes": 5}, threads=1)
    write_spec(spec, folder / "spec.json")
    subprocess.run([sys.executable, "-m", "workers.parallel", folder / "spec.json"], cwd=ROOT, check=True, timeout=120)
    return json.loads((folder / "profile.json").read_text())


def test_layers_are_named_as_their_parameters_are_and_in_order(measured):
    names = [layer.name for layer in ModelProfile.from_dict(measured["profile"]).layers]
    assert names == ["features.0", "features.1", "features.2", "features.3", "head"]
    held = build_model(SHAPE).state_dict()
    assert {name for name in names if not any(key.startswith(f"{name}.") for key in held)} == set()


def test_every_parameter_is_counted_once(measured):
    layers = ModelProfile.from_dict(measured["profile"]).layers
    assert sum(layer.parameters for layer in layers) == sum(p.numel() for p in build_model(SHAPE).parameters())


def test_the_layers_add_up_to_the_step(measured):
    batch = measured["batch_sizes"][1]
    layers = ModelProfile.from_dict(measured["profile"]).layers
    together = sum(layer.call_seconds + batch * layer.example_seconds for layer in layers)
    assert together == pytest.approx(measured["step_seconds"])
    assert all(layer.call_seconds >= 0 and layer.example_seconds >= 0 for layer in layers)


def test_memory_and_reading_are_measured_too(measured):
    assert measured["free_bytes"] > 10**8 and measured["peak_bytes"] >= measured["profile"]["base_bytes"] > 10**7
    assert 0 < measured["loading"]["none"] < measured["loading"]["strong"]
    assert measured["profile"]["update_seconds"] > 0 and measured["profile"]["is_measured"]


def test_the_arithmetic_knows_the_sizes_to_the_byte_or_so(measured):
    for found, expected in zip(
        ModelProfile.from_dict(measured["profile"]).layers, estimate_profile(SHAPE, "cpu").layers, strict=True
    ):
        assert (found.name, found.parameters, found.output_bytes) == (
            expected.name, expected.parameters, expected.output_bytes,
        )  # fmt: skip
        assert found.activation_bytes == pytest.approx(expected.activation_bytes, rel=0.02, abs=64)


@pytest.mark.parametrize("architecture", ["resnet_tiny", "resnet_small", "vit_tiny"])
@pytest.mark.parametrize("side", [28, 64])
def test_every_network_is_described_as_it_is_built(architecture, side):
    shape = Shape(architecture, side, classes=7)
    model, layers = build_model(shape), estimate_profile(shape, "cpu").layers
    assert sum(layer.parameters for layer in layers) == sum(p.numel() for p in model.parameters())
    assert [layer.name for layer in layers] == [f"features.{n}" for n in range(len(model.features))] + ["head"]


def test_a_device_that_was_faster_with_another_model_is_taken_to_be_so_again():
    slow, fast = (estimate_profile(SHAPE, "cpu", flops_per_second=rate) for rate in (1e9, 1e11))
    assert slow.layers[1].example_seconds > 10 * fast.layers[1].example_seconds
    assert step_flops(SHAPE) > 0


def test_the_shape_comes_from_the_settings_and_the_report():
    settings = resolve("image_classification", "fast", {})
    assert shape_of(settings, {"sides": [28, 28, 28.4], "classes": [{}] * 10}) == Shape(
        "resnet_tiny", 28, 10, precision="auto"
    )
    assert shape_of(settings, {"sides": [30, 300, 900], "classes": [{}] * 3}).side == 64
    assert shape_of({**settings, "image_size": 40}, {}).side == 40
    assert shape_of(settings, {}).side == 64
    assert len({Shape("resnet_tiny", side, 2).key for side in (24, 32)}) == 2


def test_a_spec_that_makes_no_sense_is_said_so(tmp_path: Path):
    (tmp_path / "spec.json").write_text('{"work_dir": "x", "shape": {"depth": 3}}')
    done = subprocess.run(
        [sys.executable, "-m", "workers.parallel", tmp_path / "spec.json"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2 and "usage" in done.stderr and "depth" in done.stderr
