"""How a compressed model differs in form from the plain one of its architecture, as JSON, and back.

Weights are kept as safetensors, by name. Where layers became narrower or were replaced, a plain model of the
architecture must first be given that form. For each module that differs, by its dotted name:

    {"kind": "conv2d", "in": 16, "out": 9, "groups": 1}    its sizes, where they differ
    {"opened": true}                                       an nn.MultiheadAttention whose heads stand apart
    {"heads": 3}                                           an attention's heads
    {"shapes": {"positions": [1, 16, 24]}}                 parameters of its own
    {"ranks": [4, 8]}                                      a product of thin layers (methods/low_rank.py)
    {"mask": {"amount": 0.8, "pattern": "any", "ramp": 60}}    while weights are being removed
    {"rounding": {"input": true, "output": false, "weight": true, "kept": false}}    while it learns to be rounded
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, NoReturn

import torch
from torch import nn

from workers.compression.methods import prune_weights, quantise
from workers.compression.methods.attention import Attention, is_plain
from workers.compression.methods.base import WEIGHTED, replace
from workers.compression.methods.heads import head_attribute
from workers.compression.methods.low_rank import LowRank, Ranks
from workers.compression.recipes import PATTERNS
from workers.compression.sizes import read_sizes, resize, write_shapes

Structure = dict[str, dict[str, Any]]

OPENED, HEADS, SHAPES, RANKS, MASK, ROUNDING = "opened", "heads", "shapes", "ranks", "mask", "rounding"
FACTS = (OPENED, HEADS, SHAPES, RANKS, MASK, ROUNDING)
ROUNDED = ("input", "output", "weight", "kept")
LONGEST_RAMP = 10**9


def structure_of(model: nn.Module, plain: nn.Module) -> Structure:
    """What `restructure` must be told to give `plain`, the model as its architecture makes it, the form of `model`.

    Raises ValueError where they differ in something that cannot be said.
    """
    built, structure = deepcopy(plain), {}
    for name, module in model.named_modules():
        counterpart = _module(built, name)
        if entry := _difference(module, counterpart):
            structure[name] = entry
            _apply(built, name, entry)
    wanted, found = ({key: value.shape for key, value in item.state_dict().items()} for item in (model, built))
    if differing := sorted(key for key in {*wanted, *found} if wanted.get(key) != found.get(key)):
        raise ValueError(f"The form of {differing[0]!r} cannot be described.")
    return structure


def restructure(model: nn.Module, structure: Mapping[str, Any]) -> None:
    """Give the plain `model` the form that `structure` describes, in place; its weights are to be loaded afterwards.

    Nothing can become larger than it was. Raises ValueError, with a sentence, where `structure` describes no such form;
    the model is then of no use.
    """
    if not isinstance(structure, Mapping):
        raise ValueError("The structure of a model must say for each module, by name, how it differs.")
    for name, entry in structure.items():
        if not isinstance(name, str) or not isinstance(entry, Mapping) or not entry:
            raise ValueError(f"The structure of {name!r} is not a description of a module.")
        _apply(model, name, entry)


def _module(model: nn.Module, name: str) -> nn.Module:
    module = dict(model.named_modules()).get(name)
    if module is None:
        raise ValueError(f"The model has no module {name!r}.")
    return module


# What differs


def _difference(module: nn.Module, plain: nn.Module) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    if isinstance(module, Attention) and isinstance(plain, nn.MultiheadAttention):
        entry[OPENED] = True
        plain = Attention.of(plain)
    if isinstance(module, LowRank) and not isinstance(plain, LowRank):
        return _low_rank(module, plain)
    if (sizes := read_sizes(module)) != read_sizes(plain):
        entry |= sizes
    if (attribute := head_attribute(module)) and getattr(module, attribute) != getattr(plain, attribute, None):
        entry[HEADS] = getattr(module, attribute)
    if not sizes and (shapes := _changed_shapes(module, plain)):
        entry[SHAPES] = shapes
    if (mask := prune_weights.mask_of(module)) is not None and prune_weights.mask_of(plain) is None:
        entry[MASK] = {"amount": mask.amount, "pattern": mask.pattern, "ramp": mask.ramp}
    rounded = quantise.rounding_of(module)
    rounding = {
        "input": quantise.INPUT in module._modules,
        "output": quantise.OUTPUT in module._modules,
        "weight": rounded is not None,
        "kept": rounded is not None and rounded.kept is not None,
    }
    return entry | ({ROUNDING: rounding} if any(rounding.values()) else {})


def _low_rank(module: LowRank, plain: nn.Module) -> dict[str, Any]:
    """Of what the layer was, its sizes are known from its first and last parts."""
    first, last = module[0], module[-1]
    sizes = read_sizes(plain) | {"in": read_sizes(first)["in"], "out": read_sizes(last)["out"]}
    entry = {RANKS: [module.ranks.inputs, module.ranks.outputs]}
    return entry if sizes == read_sizes(plain) else sizes | entry


def _changed_shapes(module: nn.Module, plain: nn.Module) -> dict[str, list[int]]:
    ours, theirs = module._parameters, plain._parameters
    return {
        name: list(value.shape)
        for name, value in ours.items()
        if value is not None and theirs.get(name) is not None and value.shape != theirs[name].shape
    }


# Giving it that form


def _apply(model: nn.Module, name: str, entry: Mapping[str, Any]) -> None:
    module = _module(model, name)
    sizes = {key: value for key, value in entry.items() if key not in FACTS}
    if OPENED in entry:
        if entry[OPENED] is not True or not isinstance(module, nn.MultiheadAttention) or not is_plain(module):
            _refuse(name, "it is no attention that could be opened")
        replace(model, name, Attention.of(module))
        module = _module(model, name)
    if sizes:
        resize(name, module, sizes)
    if SHAPES in entry:
        write_shapes(name, module, entry[SHAPES])
    if HEADS in entry:
        _set_heads(name, module, entry[HEADS])
    if RANKS in entry:
        replace(model, name, LowRank(module, _checked_ranks(name, module, entry[RANKS])))
        module = _module(model, name)
    if MASK in entry:
        _attach_mask(name, module, entry[MASK])
    if ROUNDING in entry:
        _attach_rounding(name, module, entry[ROUNDING])


def _set_heads(name: str, module: nn.Module, heads: Any) -> None:
    attribute = head_attribute(module)
    if not attribute or isinstance(module, nn.MultiheadAttention):
        _refuse(name, "it is no attention with heads of its own")
    if type(heads) is not int or not 1 <= heads <= getattr(module, attribute):
        _refuse(name, f"it has 1 to {getattr(module, attribute)} heads")
    setattr(module, attribute, heads)


def _checked_ranks(name: str, module: nn.Module, ranks: Any) -> Ranks:
    if not isinstance(module, WEIGHTED) or getattr(module, "groups", 1) != 1:
        _refuse(name, "only linear layers and convolutions without groups are products of others")
    outputs, inputs, *kernel = module.weight.shape
    if not isinstance(ranks, (list, tuple)) or len(ranks) != 2 or ranks[0] is None and ranks[1] is None:
        _refuse(name, "its ranks are two numbers")
    for rank, most in zip(ranks, (inputs, outputs), strict=True):
        if rank is not None and (type(rank) is not int or not 1 <= rank <= most):
            _refuse(name, f"a rank is 1 to {most}")
    if ranks[0] is not None and (not kernel or module.weight[0, 0].numel() == 1):
        _refuse(name, "it has one rank")
    return Ranks(*ranks)


def _attach_mask(name: str, module: nn.Module, mask: Any) -> None:
    if not isinstance(mask, Mapping) or set(mask) != {"amount", "pattern", "ramp"} or not _is_single(module):
        _refuse(name, "a mask has an amount, a pattern and a ramp, and one stands on a layer's weight")
    amount, pattern, ramp = mask["amount"], mask["pattern"], mask["ramp"]
    if type(amount) not in (int, float) or not 0 <= amount < 1 or pattern not in PATTERNS:
        _refuse(name, f"a mask removes a share from 0 to below 1 in a pattern, {' or '.join(PATTERNS)}")
    if pattern == prune_weights.TWO_OF_FOUR and module.weight.shape[1] % prune_weights.NEIGHBOURS:
        _refuse(name, "its inputs are not a multiple of four")
    if type(ramp) is not int or not 0 <= ramp <= LONGEST_RAMP:
        _refuse(name, "a ramp is a number of steps")
    prune_weights.attach(module, float(amount), pattern, ramp)


def _attach_rounding(name: str, module: nn.Module, rounding: Any) -> None:
    is_known = isinstance(rounding, Mapping) and set(rounding) == set(ROUNDED)
    if not is_known or any(type(value) is not bool for value in rounding.values()):
        _refuse(name, f"its rounding says yes or no to {', '.join(ROUNDED)}")
    if (rounding["input"] or rounding["weight"]) and not _is_single(module):
        _refuse(name, "only linear layers and convolutions are rounded, once")
    if rounding["input"]:
        quantise.attach_input(module)
    if rounding["weight"]:
        kept = torch.ones_like(module.weight, dtype=torch.bool) if rounding["kept"] else None
        quantise.attach_weight(module, kept)
    if rounding["output"]:
        quantise.attach_output(module)


def _is_single(module: nn.Module) -> bool:
    """Whether it is a layer whose weight nothing stands on yet."""
    is_rounded = quantise.INPUT in module._modules or quantise.rounding_of(module) is not None
    return isinstance(module, WEIGHTED) and prune_weights.mask_of(module) is None and not is_rounded


def _refuse(name: str, reason: str) -> NoReturn:
    raise ValueError(f"The structure of {name!r} describes no form that it can have: {reason}.")
