"""Methods that change a torch model before it is fine-tuned, and what is left to do with it afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from workers.compression import recipes
from workers.compression.methods import low_rank, prune_channels, prune_weights, quantise
from workers.compression.methods.attention import open_attention
from workers.compression.methods.base import Data

__all__ = ["Data", "convert", "prepare"]

MODULES = {
    recipes.PRUNE_CHANNELS: prune_channels,
    recipes.LOW_RANK: low_rank,
    recipes.PRUNE_WEIGHTS: prune_weights,
    recipes.QUANTISE: quantise,
}


def prepare(model: nn.Module, step: Mapping[str, Any], data: Data) -> list[str]:
    """Change `model` in place as `step` of a recipe says, before it is fine-tuned for `step["epochs"]`.

    Returns sentences for people, such as which layer was left as it is and why. Nothing happens to the torch model in
    a step of another method, nor where a step quantises without fine-tuning. Raises ProgramFailure
    (nothing_to_compress) where the method can do nothing with this model.
    """
    if not _concerns_model(step):
        return []
    open_attention(model)
    return MODULES[step["method"]].prepare(model, step, data)


def convert(model: nn.Module, step: Mapping[str, Any]) -> list[str]:
    """After fine-tuning, make an ordinary model again of one that `prepare` was given with the same step, in place."""
    return MODULES[step["method"]].convert(model, step) if _concerns_model(step) else []


def _concerns_model(step: Mapping[str, Any]) -> bool:
    return step["method"] in MODULES and (step["method"] != recipes.QUANTISE or bool(step.get("epochs")))
