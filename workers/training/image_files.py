"""The files of an image classifier as the module that they hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file
from torch import nn

from workers.compression.structure import restructure
from workers.contract import ProgramFailure
from workers.training.image_models import build_classifier

WEIGHTS_FILE = "model.safetensors"


def load_state(folder: Path) -> dict[str, np.ndarray]:
    """Raises ProgramFailure damaged_model."""
    try:
        return load_file(folder / WEIGHTS_FILE)
    except (OSError, SafetensorError) as error:
        raise _damaged(error) from error


def load_classifier(folder: Path, meta: dict[str, Any]) -> nn.Module:
    """A trained, fused or compressed classifier with its weights. Raises ProgramFailure damaged_model."""
    state = {name: torch.from_numpy(array) for name, array in load_state(folder).items()}
    try:
        model = build_classifier(meta["architecture"], meta["architecture_args"])
        restructure(model, meta.get("structure", {}))
        model.load_state_dict(state)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise _damaged(error) from error
    return model.eval()


def _damaged(error: Exception) -> ProgramFailure:
    message = f"The weights of a model cannot be loaded: {str(error)[:300]}"
    return ProgramFailure("damaged_model", message, hint="Train the model again.", blame="machine")
