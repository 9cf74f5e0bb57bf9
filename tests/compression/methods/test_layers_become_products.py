"""A layer becomes a product of thinner ones that keeps as much of it as asked, where that saves multiplications."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.compression.methods.models import trained
from workers.compression.methods import prepare
from workers.compression.methods.low_rank import LowRank, Ranks, factorise, multiplications, rank_of
from workers.contract import ProgramFailure


def of_rank(layer: nn.Module, rank: int) -> nn.Module:
    """`layer` with weights that are products of `rank` terms in outputs and inputs."""
    outputs, inputs, *kernel = layer.weight.shape
    generator = torch.Generator().manual_seed(0)
    out, into = torch.randn(outputs, rank, generator=generator), torch.randn(inputs, rank, generator=generator)
    core = torch.randn(rank, rank, *kernel, generator=generator)
    with torch.no_grad():
        layer.weight.copy_(torch.einsum("or,rs...,is->oi...", out, core, into))
    return layer


LAYERS = {
    "linear": lambda: (nn.Linear(40, 30), torch.randn(5, 40)),
    "1x1": lambda: (nn.Conv2d(40, 30, 1, stride=2), torch.randn(2, 40, 7, 7)),
    "3x3": lambda: (nn.Conv2d(24, 32, 3, padding=1, stride=2), torch.randn(2, 24, 9, 9)),
    "dilated": lambda: (nn.Conv2d(24, 32, 3, padding=2, dilation=2, bias=False), torch.randn(2, 24, 9, 9)),
    "reflecting": lambda: (nn.Conv2d(24, 32, (3, 5), padding=(1, 2), padding_mode="reflect"), torch.randn(2, 24, 9, 9)),
    "sequence": lambda: (nn.Conv1d(24, 32, 5, padding=2), torch.randn(2, 24, 30)),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_a_layer_of_low_rank_is_kept_exactly_with_fewer_multiplications(kind: str) -> None:
    torch.manual_seed(0)
    layer, values = LAYERS[kind]()
    of_rank(layer, 4)
    factors = factorise(layer, 0.999999)
    assert isinstance(factors, LowRank)
    assert set(vars(factors.ranks).values()) <= {4, None}
    torch.testing.assert_close(factors(values), layer(values), rtol=1e-3, atol=1e-3)
    assert sum(value.numel() for value in factors.parameters()) < sum(value.numel() for value in layer.parameters())


@settings(max_examples=30)
@given(st.floats(0.1, 0.9999), st.integers(2, 40), st.integers(2, 40), st.sampled_from([1, 3]), st.integers(0, 999))
def test_the_energy_asked_for_is_kept(energy: float, inputs: int, outputs: int, kernel: int, seed: int) -> None:
    torch.manual_seed(seed)
    layer = nn.Conv2d(inputs, outputs, kernel)
    with torch.no_grad():  # weights of falling importance, as trained ones are
        layer.weight *= torch.logspace(0, -2, outputs)[:, None, None, None]
    factors = factorise(layer, energy)
    if factors is None:
        return
    assert multiplications(layer, factors.ranks) < multiplications(layer, Ranks(None, None))
    probe = torch.eye(inputs * kernel**2).reshape(-1, inputs, kernel, kernel)  # reads all weights off
    lost = (factors(probe) - layer(probe)).square().sum() / layer.weight.square().sum()
    both = 1 + (None not in (factors.ranks.inputs, factors.ranks.outputs))
    assert lost <= both * (1 - energy) + 1e-4  # each of two bases may lose as much


def test_a_rank_holds_the_energy_and_one_less_does_not() -> None:
    sizes = torch.tensor([3.0, 2.0, 1.0, 0.5], dtype=torch.float64)  # squares 9, 4, 1, 0.25 of 14.25
    assert [rank_of(sizes, energy) for energy in (0.5, 0.63, 0.64, 0.98, 0.99, 0.9999)] == [1, 1, 2, 3, 4, 4]
    assert rank_of(torch.zeros(3), 0.9) == 3 or rank_of(torch.zeros(3), 0.9) == 1


@pytest.mark.parametrize("ranks", [Ranks(None, None), Ranks(5, 7), Ranks(5, None), Ranks(None, 7)], ids=str)
def test_multiplications_are_those_that_are_done(ranks: Ranks) -> None:
    layer, done = nn.Conv2d(12, 20, 3, stride=2, padding=1), []

    def count(module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        done.append(module.weight.numel() * output[0, 0].numel())

    parts = [layer] if ranks == Ranks(None, None) else list(LowRank(layer, ranks))
    for part in parts:
        part.register_forward_hook(count)
    output = nn.Sequential(*parts)(torch.zeros(1, 12, 16, 16))
    assert sum(done) == multiplications(layer, ranks) * output[0, 0].numel()


def test_layers_that_would_not_gain_and_grouped_ones_are_named() -> None:
    case = trained("separable")
    model = case.copy()
    notes = prepare(model, {"method": "low_rank", "energy": 0.9, "epochs": 0}, case.data())
    assert isinstance(model.right, LowRank)
    grouped = "it looks at each group of channels apart, and has little to share"
    assert f"depthwise.0 stays as it is: {grouped}." in notes
    assert f"grouped.0 stays as it is: {grouped}." in notes
    assert "stem.0 stays as it is: at 90.00% energy its parts would need as many multiplications." in notes


def test_where_nothing_would_be_saved_the_failure_says_so() -> None:
    case = trained("table")
    with pytest.raises(ProgramFailure) as failure:
        prepare(case.copy(), {"method": "low_rank", "energy": 0.9999, "epochs": 0}, case.data())
    assert (failure.value.code, failure.value.field) == ("nothing_to_compress", "energy")


def test_certainty_can_be_fitted_to_a_head_that_became_a_product() -> None:
    case = trained("residual")
    model = case.copy()
    prepare(model, {"method": "low_rank", "energy": 0.8, "epochs": 0}, case.data())
    assert isinstance(model.head, LowRank)
    with torch.no_grad():
        before = model(case.held_inputs)
        model.divide_logits(2.0)
        torch.testing.assert_close(model(case.held_inputs), before / 2)
