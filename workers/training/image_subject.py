"""Going on with image classifiers; see subjects.py."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from workers.contract import ENSEMBLE, EventWriter, ProgramFailure, TrainSpec
from workers.parallel.processes import Processes
from workers.training import images
from workers.training.architectures import AUTO_MODEL, PRETRAINED, arguments_of
from workers.training.image_models import build_classifier
from workers.training.images import ImageData, Seen, calibrate, fit_model, write_files
from workers.training.stopping import Stop

__all__ = ["build", "calibrate", "fit_model", "inputs", "load_data", "narrowed", "simplest", "write_files"]

LEAST_WIDTH = 4
OF_THE_DATA = ("channels", "classes", "dropout", "mean", "deviation")  # arguments of every network


def build(meta: Mapping[str, Any]) -> nn.Module:
    return build_classifier(meta["architecture"], meta["architecture_args"])


def narrowed(meta: Mapping[str, Any], width: float) -> dict[str, Any]:
    """Of an ensemble, the meta of a narrower one of its members."""
    meta = _alone(meta)
    arguments = dict(meta["architecture_args"])
    if "widths" in arguments:
        arguments["widths"] = [_narrow(channels, width, LEAST_WIDTH) for channels in arguments["widths"]]
    elif "width" in arguments:
        arguments["width"] = _narrow(arguments["width"], width, LEAST_WIDTH * arguments["heads"])
    else:
        message = f"There is no narrower network of the kind {meta['architecture']}."
        raise ProgramFailure("unsupported_method", message, hint="Remove channels instead.", blame="settings")
    return {**meta, "architecture_args": arguments}


def simplest(meta: Mapping[str, Any]) -> dict[str, Any] | None:
    """A small residual network."""
    meta = _alone(meta)
    if meta["architecture"] in (AUTO_MODEL, PRETRAINED):
        return None
    known = {name: meta["architecture_args"][name] for name in OF_THE_DATA}
    arguments = arguments_of(AUTO_MODEL, meta["input"]["height"]) | known
    return {**meta, "architecture": AUTO_MODEL, "architecture_args": arguments}


def _alone(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Of an ensemble, the meta of one of its members."""
    return {**meta, **(meta["architecture_args"]["members"][0] if meta["architecture"] == ENSEMBLE else {})}


def _narrow(channels: int, width: float, step: int) -> int:
    return max(step, round(channels * width / step) * step)


def load_data(
    spec: TrainSpec, meta: Mapping[str, Any], folder: Path, events: EventWriter, stop: Stop, processes: Processes
) -> ImageData:
    seen = Seen(meta["input"]["height"], meta["input"]["channels"]) if meta["architecture"] == PRETRAINED else None
    return images.load_data(spec, meta["architecture"], events, stop, processes, seen)


def inputs(data: ImageData, rows: np.ndarray) -> tuple[Tensor, ...]:
    return (torch.from_numpy(data.store[rows]),)
