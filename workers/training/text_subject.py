"""Going on with text classifiers; see subjects.py."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from workers.contract import EventWriter, ProgramFailure, TrainSpec
from workers.parallel.processes import Processes
from workers.texts import PRETRAINED, load_encoder
from workers.training import texts
from workers.training.stopping import Stop
from workers.training.text_models import build_text_classifier
from workers.training.text_networks import HEADS, TEXT_BLEND
from workers.training.texts import TextData, calibrate, fit_model, write_files

__all__ = ["build", "calibrate", "fit_model", "inputs", "load_data", "narrowed", "simplest", "write_files"]

LEAST_WIDTH = 2 * HEADS


def build(meta: Mapping[str, Any]) -> nn.Module:
    return build_text_classifier(meta["architecture"], meta["architecture_args"])


def narrowed(meta: Mapping[str, Any], width: float) -> dict[str, Any]:
    if meta["architecture"] == PRETRAINED:
        message = "A model that started from a checkpoint has no narrower one to distil to."
        hint = "Use other methods, or train a smaller checkpoint."
        raise ProgramFailure("unsupported_method", message, hint=hint, blame="settings")
    return {**meta, "architecture_args": _narrow(meta["architecture_args"], width)}


def simplest(meta: Mapping[str, Any]) -> dict[str, Any] | None:
    """Of a blend, its bag of n-grams alone: reading the words in their order is what takes the time."""
    if meta["architecture"] != TEXT_BLEND or not meta["architecture_args"]["gru"]:
        return None
    return {**meta, "architecture_args": {**meta["architecture_args"], "gru": None}}


def _narrow(arguments: Mapping[str, Any], width: float) -> dict[str, Any]:
    """Every `width` in the arguments, those of its parts too."""
    return {name: _narrow_one(name, value, width) for name, value in arguments.items()}


def _narrow_one(name: str, value: Any, width: float) -> Any:
    if isinstance(value, Mapping):
        return _narrow(value, width)
    if name != "width":
        return value
    return max(LEAST_WIDTH, round(value * width / LEAST_WIDTH) * LEAST_WIDTH)


def load_data(
    spec: TrainSpec, meta: Mapping[str, Any], folder: Path, events: EventWriter, stop: Stop, processes: Processes
) -> TextData:
    return texts.load_data(spec, meta["architecture"], events, stop, load_encoder(meta["encoder"], folder))


def inputs(data: TextData, rows: np.ndarray) -> tuple[Tensor, ...]:
    return (torch.from_numpy(data.store[rows]),)
