"""Changes that are undone where they turn out to change what a model answers otherwise than they should."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from workers.compression.methods.base import Inputs, answer

TOLERANCE = 1e-3  # of the largest answer


class Snapshot:
    """The form and the tensors of all modules of a model, to be put back."""

    def __init__(self, model: nn.Module) -> None:
        self._states = [(module, _copied(module)) for module in model.modules()]

    def restore(self) -> None:
        for module, state in self._states:
            module.__dict__.clear()
            module.__dict__.update(state)


def _copied(module: nn.Module) -> dict:
    return {name: value.copy() if isinstance(value, dict) else value for name, value in module.__dict__.items()}


@contextlib.contextmanager
def zeroed(parts: Sequence[tuple[Tensor, Sequence[int] | Tensor]]) -> Iterator[None]:
    """Within, columns of weights [outputs, inputs, ...] are zero; `parts` are weights and the columns' numbers."""
    kept = [weight.detach().clone() for weight, _ in parts]
    try:
        with torch.no_grad():
            for weight, columns in parts:
                weight[:, columns] = 0
        yield
    finally:
        with torch.no_grad():
            for (weight, _), values in zip(parts, kept, strict=True):
                weight.copy_(values)


def attempt(
    model: nn.Module, example: Inputs, change: Callable[[], None], wanted: Tensor | None, shape: torch.Size
) -> bool:
    """Make `change` to `model` and see that it answers `example` in this shape, and with `wanted` where that is known.

    Where it does not, the model is as before, and the answer is False.
    """
    before = Snapshot(model)
    try:
        change()
        found = answer(model, example)
        is_right = found.shape == shape and bool(found.isfinite().all())
        if is_right and wanted is not None:
            is_right = bool((found - wanted).abs().max() <= TOLERANCE * wanted.abs().max().clamp(min=1e-6))
    except (RuntimeError, ValueError, IndexError, AssertionError, TypeError, AttributeError):
        is_right = False
    if not is_right:
        before.restore()
    return is_right
