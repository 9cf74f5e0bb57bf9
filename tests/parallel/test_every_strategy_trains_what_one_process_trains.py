"""Whatever the strategy, the number of processes and how unevenly they share the work: the losses of every step, the
weights at the end and the answers are those of one process with the same seed, batches and micro-batches."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from _pytest.mark import ParameterSet

from tests.parallel.cases import EQUAL, PAIRS, ROUNDING, alone, curve, kept, make_model, problem
from tests.parallel.conftest import Gang


class Closeness(NamedTuple):
    """How far losses and weights may lie apart, relative to themselves."""

    curve: float
    weights: float


EXACT = Closeness(1e-5, 1e-5)
# Where numbers are rounded to steps while the model learns, the last bit of a sum decides between two steps.
ROUNDED = Closeness(5e-3, 5e-2)


def in_gang(*values: object) -> ParameterSet:
    """What one gang has run is read by one worker; the last value is the number of its processes."""
    return pytest.param(*values, marks=pytest.mark.xdist_group(f"gang-of-{values[-1]}"))


RUNS = [in_gang(name, size) for name, size in PAIRS]


@pytest.fixture(scope="module")
def one_process(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[dict, dict]]:
    """The curves and the weights of a case trained by one process."""

    @cache
    def train(name: str) -> tuple[dict, dict]:
        work: Path = tmp_path_factory.mktemp("alone")
        _, model, _ = alone(EQUAL[name], work, EQUAL[name].alone())
        return curve(work), model.state_dict()

    return train


@pytest.mark.parametrize(("name", "size"), RUNS)
def test_losses_and_weights_are_those_of_one_process(
    gang_of: Callable[[int], Gang], one_process: Callable[[str], tuple[dict, dict]], name: str, size: int
) -> None:
    work = gang_of(size).folder / name
    expected_curve, expected_weights = one_process(name)
    closeness = ROUNDED if EQUAL[name].step == ROUNDING else EXACT
    assert curve(work) == pytest.approx(expected_curve, rel=closeness.curve, abs=closeness.curve / 10)
    weights, _ = kept(work / "kept.safetensors")
    assert weights.keys() == expected_weights.keys()
    for key, value in expected_weights.items():
        torch.testing.assert_close(weights[key], value, rtol=closeness.weights, atol=closeness.weights / 5)


@pytest.mark.parametrize(("name", "size"), RUNS)
def test_the_fused_model_answers_on_one_device_as_the_processes_did(
    gang_of: Callable[[int], Gang], name: str, size: int
) -> None:
    weights, answers = kept(gang_of(size).folder / name / "kept.safetensors")
    model = make_model(EQUAL[name])
    model.load_state_dict(weights)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(torch.from_numpy(problem()[0])), answers, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [in_gang(2), in_gang(4)])
def test_slices_and_stages_are_all_that_a_process_holds(gang_of: Callable[[int], Gang], size: int) -> None:
    held = gang_of(size).read("held.json")
    whole, moments = held["ddp"][0]
    assert held["ddp"] == [[whole, moments]] * size
    assert moments == 2 * whole
    for strategy in ("fsdp", "pipeline"):
        assert sum(own for own, _ in held[strategy]) == whole
        assert all(own < whole and 2 * own == own_moments for own, own_moments in held[strategy])
    assert max(own for own, _ in held["fsdp"]) < 1.3 * whole / size  # slices of a few rows are never quite even
