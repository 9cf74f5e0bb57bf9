"""What it takes to go on with a classifier that was trained before, for each task that torch models are trained for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file
from torch import Tensor, nn

from workers.compression.structure import restructure
from workers.contract import EventWriter, ProgramFailure, TrainSpec
from workers.domains import TASKS
from workers.parallel.processes import Processes
from workers.parallel.strategies.base import Strategy
from workers.training.classifiers import WEIGHTS_FILE, Data
from workers.training.loop import FitResult
from workers.training.stopping import Stop
from workers.training.teaching import Guide


class Subject(Protocol):
    """One task; its module has these functions. `meta` is a model's meta.json."""

    def build(self, meta: Mapping[str, Any]) -> nn.Module:
        """The untrained classifier. Raises KeyError and TypeError where it describes none."""

    def narrowed(self, meta: Mapping[str, Any], width: float) -> dict[str, Any]:
        """The meta of a network of the same kind, each layer of which has `width` times the channels. Raises
        ProgramFailure unsupported_method where there is none."""

    def simplest(self, meta: Mapping[str, Any]) -> dict[str, Any] | None:
        """The meta of the fastest kind of network that is given the same inputs; None where this is it."""

    def load_data(
        self, spec: TrainSpec, meta: Mapping[str, Any], folder: Path, events: EventWriter, stop: Stop,
        processes: Processes,
    ) -> Data:  # fmt: skip
        """The data as the model of `meta`, which lies in `folder`, sees it."""

    def inputs(self, data: Data, rows: np.ndarray) -> tuple[Tensor, ...]:
        """What the model is given for these rows."""

    def fit_model(
        self, model: nn.Module, data: Data, spec: TrainSpec, events: EventWriter, stop: Stop, strategy: Strategy,
        guide: Guide,
    ) -> FitResult:  # fmt: skip
        """Train it."""

    def calibrate(self, model: nn.Module, data: Data, device: str) -> float:
        """Fit the model's certainty to its accuracy; returns the temperature."""

    def write_files(self, model: nn.Module, data: Data, folder: Path) -> None:
        """The weights, the graph (checked to answer alike) and a sample."""


def subject_of(task: str) -> Subject:
    return TASKS[task].load("subject")


def load_state(folder: Path) -> dict[str, np.ndarray]:
    """Raises ProgramFailure damaged_model."""
    try:
        return load_file(folder / WEIGHTS_FILE)
    except (OSError, SafetensorError) as error:
        raise _damaged(error) from error


def load_classifier(folder: Path, meta: Mapping[str, Any]) -> nn.Module:
    """A trained, fused or compressed classifier with its weights. Raises ProgramFailure damaged_model."""
    state = {name: torch.from_numpy(array) for name, array in load_state(folder).items()}
    try:
        model = subject_of(meta["task"]).build(meta)
        restructure(model, meta.get("structure", {}))
        model.load_state_dict(state)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise _damaged(error) from error
    return model.eval()


def _damaged(error: Exception) -> ProgramFailure:
    message = f"The weights of a model cannot be loaded: {str(error)[:300]}"
    return ProgramFailure("damaged_model", message, hint="Train the model again.", blame="machine")
