"""The state of a training as named tensors and plain values, and back.

Everything goes by the names of the model's parameters, so that a state can be cut into the parts that processes hold,
put together again, and divided otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

MODEL, AVERAGE, BEST, OPTIMIZER, RANDOM = "model.", "average.", "best.", "optimizer.", "random."
Plain = dict[str, dict[str, Any]]


class Pieces:
    """How the tensors of a model relate to what this process holds of them; here it holds them whole."""

    def own(self, tensor: Tensor) -> Tensor:
        """What this process holds of `tensor`, sharing its memory."""
        return tensor

    def like(self, reference: Tensor, own: Tensor) -> Tensor:
        """A tensor divided as `reference` is, of which this process holds `own`."""
        return own.to(reference.device)


WHOLE = Pieces()


def export_state(
    model: nn.Module, optimizer: Optimizer, average: nn.Module | None, best: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], Plain]:
    """Weights, moments and random generators by name, and what the optimiser keeps that is no tensor."""
    moments, plain = _split_optimizer(model, optimizer)
    tensors = _prefixed(MODEL, learned(model, model)) | _prefixed(BEST, best) | _prefixed(OPTIMIZER, moments)
    if average is not None:
        tensors |= _prefixed(AVERAGE, learned(model, average))
    return tensors | _random_states(), plain


def learned(trained: nn.Module, model: nn.Module) -> dict[str, Tensor]:
    """The state of `model`, which is `trained` or like it, without the weights that its training leaves as they are (a
    model that is made the same way has these already), and without other names of the same weights."""
    learning = {name for name, parameter in trained.named_parameters() if parameter.requires_grad}
    left_out = {name for name, _parameter in trained.named_parameters(remove_duplicate=False)} - learning
    return {name: value for name, value in model.state_dict().items() if name not in left_out}


def import_state(
    tensors: Mapping[str, Tensor],
    plain: Plain,
    model: nn.Module,
    optimizer: Optimizer,
    average: nn.Module | None,
    pieces: Pieces = WHOLE,
) -> dict[str, Tensor]:
    """Put what this process holds of the state into objects made the same way. Returns the best weights."""
    _copy_into(model, under(MODEL, tensors), pieces)
    if average is not None:
        _copy_into(average, under(AVERAGE, tensors), pieces)
    _restore_optimizer(model, optimizer, under(OPTIMIZER, tensors), plain, pieces)
    for name, state in under(RANDOM, tensors).items():
        if name == "cpu":
            torch.set_rng_state(state)
        elif torch.cuda.is_available():
            torch.cuda.set_rng_state(state)
    references = model.state_dict()
    return {name: pieces.like(references[name], value) for name, value in under(BEST, tensors).items()}


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names start with `prefix`, by the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


@torch.no_grad()
def _copy_into(model: nn.Module, values: Mapping[str, Tensor], pieces: Pieces) -> None:
    own = model.state_dict()
    for name, value in values.items():
        pieces.own(own[name]).copy_(value)


def _split_optimizer(model: nn.Module, optimizer: Optimizer) -> tuple[dict[str, Tensor], Plain]:
    tensors: dict[str, Tensor] = {}
    plain: Plain = {}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                tensors[f"{name}.{key}"] = value
            else:
                plain.setdefault(name, {})[key] = value
    return tensors, plain


def _restore_optimizer(
    model: nn.Module, optimizer: Optimizer, tensors: Mapping[str, Tensor], plain: Plain, pieces: Pieces
) -> None:
    optimizer.state.clear()
    parameters = dict(model.named_parameters())
    for path, value in tensors.items():
        name, key = path.rsplit(".", 1)
        # A count of steps is one number on the CPU; a moment lies and is divided as its parameter.
        whole = value.clone() if value.ndim == 0 else pieces.like(parameters[name], value)
        optimizer.state[parameters[name]][key] = whole
    for name, entries in plain.items():
        if name in parameters:
            optimizer.state[parameters[name]].update(entries)


def _random_states() -> dict[str, Tensor]:
    states = {RANDOM + "cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states[RANDOM + "cuda"] = torch.cuda.get_rng_state()
    return states


def _prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in tensors.items()}
