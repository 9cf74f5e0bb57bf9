"""Whatever the model, each method leaves one that is what was asked for, answers in the same shape, has lost next to
nothing after a little fine-tuning, is loaded again from its form and its weights, and is exported."""

import json
from pathlib import Path

import pytest
import torch

from tests.compression.methods.models import CASES, Case, steps_of, trained, tune
from workers.compression.methods import convert, prepare
from workers.compression.structure import restructure, structure_of
from workers.training.export import export_onnx
from workers.training.image_models import ImageClassifier, ImageProbabilities

EPOCHS, MAY_LOSE = 3, 0.05
CHANNELS = {"method": "prune_channels", "amount": 0.3, "epochs": EPOCHS}
RANKS = {"method": "low_rank", "energy": 0.9, "epochs": EPOCHS}
WEIGHTS = {"method": "prune_weights", "amount": 0.7, "pattern": "any", "epochs": EPOCHS}
NEIGHBOURS = {"method": "prune_weights", "amount": 0.7, "pattern": "2:4", "epochs": EPOCHS}
ROUNDING = {"method": "quantise", "scheme": "int8", "epochs": EPOCHS}
STEPS = {"channels": CHANNELS, "ranks": RANKS, "weights": WEIGHTS, "2:4": NEIGHBOURS, "rounding": ROUNDING}


def parameters(model: torch.nn.Module) -> int:
    return sum(value.numel() for value in model.parameters())


def rebuilt(case: Case, model: torch.nn.Module) -> torch.nn.Module:
    """A plain model that was given the form of `model`, which went through JSON, and its weights."""
    plain = case.build()
    restructure(plain, json.loads(json.dumps(structure_of(model, case.build()))))
    plain.load_state_dict(model.state_dict(), strict=True)
    return plain


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_a_model_is_compressed_tuned_and_kept(name: str, step: dict, tmp_path: Path) -> None:
    case = trained(name)
    model = case.copy()
    prepare(model, step, case.data(steps_of(case, EPOCHS)))
    torch.testing.assert_close(answers(rebuilt(case, model), case), answers(model, case), rtol=0, atol=0)

    tune(model, case, EPOCHS)
    convert(model, step)

    assert answers(model, case).shape == answers(case.model, case).shape
    assert case.accuracy(model) >= case.accuracy(case.model) - MAY_LOSE
    if step in (CHANNELS, RANKS):
        assert parameters(model) < parameters(case.model)
    else:
        assert parameters(model) == parameters(case.model)
    torch.testing.assert_close(answers(rebuilt(case, model), case), answers(model, case), rtol=0, atol=0)
    served = ImageProbabilities(model) if isinstance(model, ImageClassifier) else model
    export_onnx(
        served, {"input": case.held_inputs}, "output", tmp_path / "model.onnx"
    )  # fails where it answers otherwise


@torch.no_grad()
def answers(model: torch.nn.Module, case: Case) -> torch.Tensor:
    return model.eval()(case.held_inputs)


@pytest.mark.parametrize("name", CASES)
def test_steps_follow_one_another_in_one_model(name: str) -> None:
    case = trained(name)
    model = case.copy()
    notes = []
    for step in ({**CHANNELS, "amount": 0.2}, RANKS, {**WEIGHTS, "amount": 0.4}, ROUNDING):
        notes += prepare(model, step, case.data(steps_of(case, 1)))
        torch.testing.assert_close(answers(rebuilt(case, model), case), answers(model, case), rtol=0, atol=0)
        tune(model, case, 1)
        notes += convert(model, step)
    torch.testing.assert_close(answers(rebuilt(case, model), case), answers(model, case), rtol=0, atol=0)
    assert all(note.endswith(".") for note in notes)
    if name != "recurrent":  # most of whose weights no method may touch
        zeros = sum(int((value == 0).sum()) for value in model.parameters())
        assert zeros > 0.3 * parameters(model)  # what was removed stays so while it learns to be rounded
