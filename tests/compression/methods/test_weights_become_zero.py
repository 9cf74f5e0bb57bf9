"""Single weights become zero, smallest first, on a schedule that a training follows and goes on with."""

from copy import deepcopy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.compression.methods.models import steps_of, trained, tune
from workers.compression.methods import Data, convert, prepare
from workers.compression.methods.prune_weights import Mask, keep_largest, keep_two_of_four, mask_of, share_by_layer
from workers.contract import ProgramFailure

STEP = {"method": "prune_weights", "amount": 0.8, "pattern": "any", "epochs": 2}


def zeros(weight: torch.Tensor) -> float:
    return float((weight == 0).double().mean())


def test_the_share_follows_the_cubic_schedule() -> None:
    mask, weight = Mask(0.8, "any", ramp=10).train(), torch.randn(50, 20, generator=torch.Generator().manual_seed(0))
    shares = [zeros(mask(weight)) for _ in range(14)]
    wanted = [0.8 * (1 - (1 - min(step, 10) / 10) ** 3) for step in range(1, 15)]
    assert shares == pytest.approx(wanted, abs=0.001)


def test_what_is_judged_between_is_what_will_be_kept() -> None:
    mask, weight = Mask(0.8, "any", ramp=10), torch.randn(50, 20, generator=torch.Generator().manual_seed(0))
    mask.train()(weight)
    judged = mask.eval()(weight)
    assert zeros(judged) == pytest.approx(0.8)
    assert mask.step == 1  # a look at it is no step
    assert zeros(mask.train()(weight)) < 0.5


def test_weights_that_are_gone_get_no_gradient() -> None:
    layer, mask = nn.Linear(20, 10), Mask(0.5, "any", ramp=0)
    weight = layer.weight.detach().clone().requires_grad_()
    mask.eval()(weight).sum().backward()
    kept = keep_largest(weight.detach(), 0.5)
    assert torch.equal(weight.grad, kept.float())


def test_tuned_and_made_permanent_the_zeros_are_as_many_as_asked() -> None:
    case = trained("residual")
    model = case.copy()
    prepare(model, STEP, case.data(steps_of(case, 2)))
    tune(model, case, 2)
    with torch.no_grad():
        judged = model.eval()(case.held_inputs)
    convert(model, STEP)
    weights = [module.weight for module in model.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    gone, count = (sum(f(weight) for weight in weights) for f in (lambda w: int((w == 0).sum()), torch.numel))
    assert gone / count == pytest.approx(0.8, abs=0.002)
    assert {type(module) for module in model.modules()} == {type(module) for module in case.model.modules()}
    with torch.no_grad():
        torch.testing.assert_close(model(case.held_inputs), judged, rtol=0, atol=0)


def test_without_fine_tuning_they_go_at_once() -> None:
    case = trained("table")
    model = case.copy()
    prepare(model, {**STEP, "amount": 0.3}, case.data(0))
    model.train()
    assert zeros(model.layers[0].weight) > 0.2
    convert(model, STEP)
    assert case.accuracy(model) >= case.accuracy(case.model) - 0.03


@given(st.integers(1, 60), st.integers(1, 60), st.floats(0.0, 0.99), st.integers(0, 99))
def test_exactly_the_smallest_go(rows: int, columns: int, share: float, seed: int) -> None:
    weight = torch.randint(-3, 4, (rows, columns), generator=torch.Generator().manual_seed(seed)).float()  # with ties
    kept = keep_largest(weight, share)
    assert int((~kept).sum()) == round(share * weight.numel())
    if kept.any() and (~kept).any():
        assert weight[kept].abs().min() >= weight[~kept].abs().max()


@given(st.integers(1, 5), st.integers(1, 6), st.sampled_from([(), (3, 3)]), st.integers(0, 99))
def test_two_of_every_four_neighbouring_inputs_stay(outputs: int, groups: int, kernel: tuple, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randint(-2, 3, (outputs, 4 * groups, *kernel), generator=generator).float()
    kept = keep_two_of_four(weight, 0.5)
    by_four = kept.movedim(1, -1).unflatten(-1, (-1, 4))
    assert bool((by_four.sum(dim=-1) == 2).all())
    sizes = weight.abs().movedim(1, -1).unflatten(-1, (-1, 4))
    smallest_kept = sizes.masked_fill(~by_four, torch.inf).amin(dim=-1)
    assert bool((smallest_kept >= sizes.masked_fill(by_four, -1).amax(dim=-1)).all())


def test_layers_that_cannot_take_the_pattern_are_named() -> None:
    case = trained("residual")
    model = case.copy()
    notes = prepare(model, {**STEP, "pattern": "2:4"}, case.data(0))
    assert notes == ["features.0.0 keeps all its weights: its 1 inputs are not a multiple of four."]
    assert zeros(model.features[1].first[0].weight) == 0.5
    assert mask_of(model.features[0][0]) is None


def test_where_no_layer_can_take_the_pattern_the_failure_says_so() -> None:
    values = torch.zeros(2, 3)
    with pytest.raises(ProgramFailure) as failure:
        prepare(nn.Linear(3, 5), {**STEP, "pattern": "2:4"}, Data((values,), lambda: [((values,), None)]))
    assert (failure.value.code, failure.value.field) == ("nothing_to_compress", "pattern")


def test_thick_layers_give_more_than_thin_ones_and_none_is_emptied() -> None:
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(size, size, generator=generator) for size in (3, 100)]
    thin, thick = share_by_layer(weights, 0.9)
    assert thin < 0.5 < 0.9 < thick
    assert (9 * thin + 10_000 * thick) / 10_009 == pytest.approx(0.9, abs=1e-3)
    assert max(share_by_layer(weights, 0.9999)) < 1


def test_a_copy_follows_the_schedule_on_its_own() -> None:
    case = trained("table")
    model = case.copy()
    prepare(model, STEP, case.data(steps_of(case, 4)))
    twin = deepcopy(model)
    tune(model, case, 1)
    assert mask_of(model.head).step == steps_of(case, 1)
    assert mask_of(twin.head).step == 0
