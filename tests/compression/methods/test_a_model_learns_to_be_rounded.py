"""While it is tuned for int8 a model computes as ONNX Runtime will, and is an ordinary one afterwards."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from tests.compression.methods.models import Case, trained, tune
from workers.compression.graphs import quantise_graph
from workers.compression.methods import Data, convert, prepare
from workers.compression.methods.quantise import MovingRange, RoundedWeight, rounding_of
from workers.compression.recipes import check_recipe
from workers.contract import IMAGE_CLASSIFICATION, ProgramFailure
from workers.training.export import export_onnx

(INT8,) = check_recipe(IMAGE_CLASSIFICATION, [{"method": "quantise"}])

STEP = {"method": "quantise", "scheme": "int8", "epochs": 1}


def answers_of_int8(case: Case, model: nn.Module, folder: Path) -> np.ndarray:
    """What the model's graph answers once ONNX Runtime's tools have made it int8, with ranges from the same data."""
    export_onnx(model, {"input": case.inputs[:8]}, "output", folder / "model.onnx")
    feeds = [{"input": row[None].numpy()} for inputs, _ in case.batches() for row in inputs[0]]
    quantise_graph(folder / "model.onnx", folder / "int8.onnx", feeds, INT8)
    session = onnxruntime.InferenceSession(str(folder / "int8.onnx"), providers=["CPUExecutionProvider"])
    return session.run(None, {"input": case.held_inputs.numpy()})[0]


@pytest.mark.parametrize(("name", "share"), [("separable", 0.85), ("table", 0.95)])
def test_it_computes_more_as_the_int8_graph_will_than_the_plain_model_does(
    name: str, share: float, tmp_path: Path
) -> None:
    """The graph also rounds pooled numbers, joins and embeddings, which need no training."""
    case = trained(name)
    model = case.copy()
    int8 = torch.from_numpy(answers_of_int8(case, model, tmp_path))
    with torch.no_grad():
        plain = model.eval()(case.held_inputs)
        prepare(model, STEP, case.data())
        rounded = model.eval()(case.held_inputs)
    assert (rounded - int8).abs().mean() < share * (plain - int8).abs().mean()


def test_afterwards_it_is_an_ordinary_model_that_int8_costs_nothing(tmp_path: Path) -> None:
    case = trained("separable")
    model = case.copy()
    prepare(model, STEP, case.data())
    tune(model, case, 2)
    convert(model, STEP)
    assert model.state_dict().keys() == case.model.state_dict().keys()
    assert [type(module) for module in model.modules()] == [type(module) for module in case.model.modules()]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    int8 = answers_of_int8(case, model, tmp_path).argmax(axis=1)
    assert (int8 == case.held_targets.numpy()).mean() >= case.accuracy(case.model) - 0.03


def test_folding_a_normalisation_into_a_weight_does_not_change_how_it_is_rounded() -> None:
    weight = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    factors = torch.tensor([0.01, -3.0, 7.0, 1.0, -0.5, 100.0]).reshape(-1, 1, 1, 1)
    rounding = RoundedWeight()
    torch.testing.assert_close(rounding(weight * factors), rounding(weight) * factors)


def test_a_rounded_weight_has_255_values_at_most_for_each_output() -> None:
    weight = torch.linspace(-1, 1, 5001) * torch.tensor([[1.0], [50.0], [0.0]])
    rounded = RoundedWeight()(weight)
    assert [len(row.unique()) for row in rounded] == [255, 255, 1]
    assert bool(((rounded - weight).abs() <= weight.abs().amax(dim=1, keepdim=True) / 127 / 2 * 1.001).all())


def test_gradients_pass_but_for_what_is_cut_off() -> None:
    values = torch.tensor([-3.0, -0.5, 0.3, 1.0, 5.0], requires_grad=True)
    moving = MovingRange().eval()
    moving.low.fill_(-1.0)
    moving.high.fill_(2.0)
    moving(values).sum().backward()
    assert values.grad.tolist() == [0, 1, 1, 1, 0]


def test_ranges_follow_the_batches_and_always_hold_zero() -> None:
    moving = MovingRange().train()
    for _ in range(200):
        moving(torch.tensor([2.0, 6.0]))
    assert (float(moving.low), float(moving.high)) == (0.0, pytest.approx(6.0, rel=1e-3))
    moving.eval()(torch.tensor([-50.0, 50.0]))
    assert float(moving.high) == pytest.approx(6.0, rel=1e-3)  # only training moves them
    assert float(moving(torch.zeros(()))) == 0


def test_what_is_added_to_a_shortcut_is_rounded_and_what_goes_into_a_relu_is_not() -> None:
    model = trained("residual").copy()
    prepare(model, STEP, trained("residual").data())
    rounded = {name.rpartition(".")[0] for name, _ in model.named_buffers() if name.endswith("output_range.low")}
    assert {name.removesuffix(".output_range") for name in rounded} == {
        "features.1.second.1", "features.2.second.1", "features.2.shortcut.1",
    }  # fmt: skip


def test_zeros_that_were_made_on_purpose_stay() -> None:
    case = trained("table")
    model, removing = case.copy(), {"method": "prune_weights", "amount": 0.6, "pattern": "any", "epochs": 0}
    prepare(model, removing, case.data())
    convert(model, removing)
    before = {name: value == 0 for name, value in model.named_parameters() if value.ndim > 1}
    prepare(model, STEP, case.data())
    tune(model, case, 1)
    convert(model, STEP)
    after = dict(model.named_parameters())
    assert all(bool((after[name][gone] == 0).all()) for name, gone in before.items() if name != "codes.weight")


def test_layers_that_int8_will_not_touch_are_named() -> None:
    case = trained("recurrent")
    model = case.copy()
    notes = prepare(model, STEP, case.data())
    assert notes == ["gru is tuned with 32-bit numbers: it is recurrent (GRU), and all its steps share it."]
    assert rounding_of(model.hidden) is not None


def test_a_step_without_fine_tuning_leaves_the_model_alone() -> None:
    case = trained("table")
    model = case.copy()
    assert prepare(model, {**STEP, "epochs": 0}, case.data()) == []
    assert model.state_dict().keys() == case.model.state_dict().keys()
    assert convert(model, {**STEP, "epochs": 0}) == []


def test_a_model_without_layers_says_so() -> None:
    tokens = torch.zeros(2, 3, dtype=torch.int64)
    with pytest.raises(ProgramFailure) as failure:
        prepare(nn.Sequential(nn.Embedding(4, 5)), STEP, Data((tokens,), lambda: [((tokens,), None)]))
    assert failure.value.code == "nothing_to_compress"


def test_half_precision_is_rounded_in_single() -> None:
    case = trained("residual")
    model = case.copy()
    prepare(model, STEP, case.data())
    with torch.autocast("cpu", torch.bfloat16):
        assert bool(model.train()(case.inputs[:8]).isfinite().all())
