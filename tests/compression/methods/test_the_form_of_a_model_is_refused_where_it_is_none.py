"""What describes the form of a model comes from a file: whatever it says, nothing but smaller layers comes of it."""

import json
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.compression.methods.models import Transformer, residual
from workers.compression.structure import restructure, structure_of
from workers.training.image_models import ImageClassifier

CONV = {"kind": "conv2d", "in": 16, "out": 8, "groups": 1}
INNER = "features.1.first.0"
MASK = {"amount": 0.5, "pattern": "any", "ramp": 3}
ROUNDING = {"input": True, "output": False, "weight": True, "kept": False}

REFUSED: dict[str, Any] = {
    "no mapping": [],
    "no such module": {"features.9": CONV},
    "a method for a module": {"__class__": CONV},
    "a path out of the model": {"features.0.__init__.__globals__": CONV},
    "nothing said": {INNER: {}},
    "a list for an entry": {INNER: [CONV]},
    "no number": {INNER: {**CONV, "out": "8"}},
    "a truth value for a number": {INNER: {**CONV, "out": True}},
    "no channel": {INNER: {**CONV, "out": 0}},
    "more than there are": {INNER: {**CONV, "out": 10**12}},
    "another kind": {INNER: {"kind": "linear", "in": 4, "out": 4}},
    "no kind": {INNER: {"in": 16, "out": 8, "groups": 1}},
    "one size short": {INNER: {"kind": "conv2d", "out": 8}},
    "an attribute": {INNER: {**CONV, "forward": "print"}},
    "groups that do not divide": {INNER: {**CONV, "in": 16, "out": 9, "groups": 1}, "features.0.0": {**CONV, "in": 0}},
    "sizes for what has none": {"features.1": CONV},
    "ranks above": {INNER: {"ranks": [17, None]}},
    "no ranks": {INNER: {"ranks": [None, None]}},
    "ranks of a norm": {"features.1.first.1": {"ranks": [2, 2]}},
    "two ranks of a linear layer": {"head": {"ranks": [2, 2]}},
    "ranks as text": {INNER: {"ranks": "22"}},
    "heads where there are none": {INNER: {"heads": 2}},
    "an attention where there is none": {INNER: {"opened": True}},
    "parameters of a layer": {INNER: {"shapes": {"weight": [1, 1, 1, 1]}}},
    "parameters that are none": {"features": {"shapes": {"forward": [1]}}},
    "a share above all": {INNER: {"mask": {**MASK, "amount": 1.5}}},
    "no share": {INNER: {"mask": {**MASK, "amount": float("nan")}}},
    "an unknown pattern": {INNER: {"mask": {**MASK, "pattern": "3:7"}}},
    "an endless ramp": {INNER: {"mask": {**MASK, "ramp": 10**30}}},
    "four of one": {"features.0.0": {"mask": {**MASK, "pattern": "2:4"}}},
    "a mask on a norm": {"features.1.first.1": {"mask": MASK}},
    "two masks": {INNER: {"mask": MASK, "rounding": ROUNDING}},
    "rounding that is no yes or no": {INNER: {"rounding": {**ROUNDING, "input": 1}}},
    "rounding of a norm": {"features.1.first.1": {"rounding": ROUNDING}},
}


@pytest.mark.parametrize("structure", REFUSED.values(), ids=REFUSED)
def test_a_form_that_the_model_cannot_have_is_refused_with_a_sentence(structure: Any) -> None:
    with pytest.raises(ValueError, match=r"^[A-Z].*\.$"):
        restructure(residual(), structure)


@pytest.mark.parametrize(
    "entry",
    [{"heads": 0}, {"heads": 5}, {"heads": 2.0}, {"heads": True}, {"opened": True}, {"shapes": {"qkv": [1]}}],
    ids=str,
)
def test_an_attention_has_no_more_heads_than_it_had(entry: dict) -> None:
    with pytest.raises(ValueError, match="blocks.0.attention"):
        restructure(Transformer(), {"blocks.0.attention": entry})


@pytest.mark.parametrize("shapes", [{"positions": [1, 16, 33]}, {"positions": [16, 32]}, {"positions": [1, 16, 0]}, []])
def test_parameters_of_a_module_do_not_grow(shapes: Any) -> None:
    with pytest.raises(ValueError, match="''"):
        restructure(Transformer(), {"": {"shapes": shapes}})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
keys = st.sampled_from(
    ["kind", "in", "out", "groups", "size", "ranks", "mask", "rounding", "heads", "opened", "shapes"]
)
names = st.sampled_from([name for name, _ in residual().named_modules()])


@settings(max_examples=150)
@given(st.dictionaries(names, st.dictionaries(keys, json_values | st.integers(1, 40), max_size=4), max_size=3))
def test_whatever_stands_there_the_model_does_not_grow(structure: dict) -> None:
    model = residual()
    before = sum(value.numel() for value in model.parameters())
    try:
        restructure(model, structure)
    except ValueError:
        return
    assert sum(value.numel() for value in model.parameters()) <= before


def test_two_models_of_one_form_differ_in_nothing() -> None:
    assert structure_of(residual(), residual()) == {}


def test_a_form_that_cannot_be_said_is_not_said_wrongly() -> None:
    model = residual()
    model.features[0][0] = nn.Conv2d(1, 16, 5, padding=2, bias=False)
    with pytest.raises(ValueError, match="features.0.0.weight"):
        structure_of(model, residual())
    model = residual()
    model.extra = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="extra"):
        structure_of(model, residual())


def test_a_form_is_plain_json() -> None:
    model = residual()
    wanted = {
        INNER: {"kind": "conv2d", "in": 16, "out": 9, "groups": 1},
        "features.1.first.1": {"kind": "norm", "size": 9},
        "features.1.second.0": {"kind": "conv2d", "in": 9, "out": 16, "groups": 1},
        "head": {"ranks": [None, 3]},
    }
    restructure(model, wanted)
    assert json.loads(json.dumps(structure_of(model, residual()))) == wanted
    assert isinstance(model, ImageClassifier)
    assert model.eval()(torch.zeros(2, 8, 8, 1, dtype=torch.uint8)).shape == (2, 10)
