"""The state of a training as named arrays and plain values, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

MODEL, AVERAGE, BEST, OPTIMIZER, RANDOM = "model.", "average.", "best.", "optimizer.", "random."


def export_state(
    model: nn.Module, optimizer: Optimizer, average: nn.Module | None, best: dict[str, Tensor]
) -> tuple[dict[str, np.ndarray], dict[str, dict[str, Any]]]:
    """Arrays of weights, moments and random generators, and what the optimiser keeps that is no tensor."""
    moments, plain = _split_optimizer(optimizer)
    tensors = _prefixed(MODEL, model.state_dict()) | _prefixed(BEST, best) | _prefixed(OPTIMIZER, moments)
    if average is not None:
        tensors |= _prefixed(AVERAGE, average.state_dict())
    return {name: value.detach().cpu().numpy() for name, value in (tensors | _random_states()).items()}, plain


def import_state(
    arrays: dict[str, np.ndarray],
    plain: dict[str, dict[str, Any]],
    model: nn.Module,
    optimizer: Optimizer,
    average: nn.Module | None,
) -> dict[str, Tensor]:
    """Put back what `export_state` gave, into objects made the same way. Returns the best weights."""
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    model.load_state_dict(_under(MODEL, tensors))
    if average is not None:
        average.load_state_dict(_under(AVERAGE, tensors))
    _restore_optimizer(optimizer, _under(OPTIMIZER, tensors), plain)
    for name, state in _under(RANDOM, tensors).items():
        torch.set_rng_state(state) if name == "cpu" else torch.cuda.set_rng_state(state)
    return _under(BEST, tensors)


def _split_optimizer(optimizer: Optimizer) -> tuple[dict[str, Tensor], dict[str, dict[str, Any]]]:
    tensors: dict[str, Tensor] = {}
    plain: dict[str, dict[str, Any]] = {}
    for number, entries in optimizer.state_dict()["state"].items():
        for name, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"{number}.{name}"] = value
            else:
                plain.setdefault(str(number), {})[name] = value
    return tensors, plain


def _restore_optimizer(optimizer: Optimizer, tensors: dict[str, Tensor], plain: dict[str, dict[str, Any]]) -> None:
    state: dict[int, dict[str, Any]] = {int(number): dict(entries) for number, entries in plain.items()}
    for key, value in tensors.items():
        number, name = key.split(".", 1)
        state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})


def _random_states() -> dict[str, Tensor]:
    states = {RANDOM + "cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states[RANDOM + "cuda"] = torch.cuda.get_rng_state()
    return states


def _prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in tensors.items()}


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
