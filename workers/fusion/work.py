"""What every step of a fusion needs, and what comes out of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from workers.compression.samples import Samples
from workers.contract import OUTPUT_FOLDER, EventWriter, FuseSpec, ProgramFailure
from workers.inference.files import META_FILE
from workers.inference.predictor import Predictor
from workers.training.stopping import Stop

OLD_MODEL_HINT = "Choose other versions, or train it again."


@dataclass(frozen=True)
class Work:
    """`metas` and `predictors` are those of `spec.models`, in their order."""

    spec: FuseSpec
    events: EventWriter
    stop: Stop
    metas: list[dict[str, Any]]
    predictors: list[Predictor]

    @property
    def folder(self) -> Path:
        return Path(self.spec.work_dir) / OUTPUT_FOLDER / "model"

    @property
    def folders(self) -> list[Path]:
        return [Path(model.model_dir) for model in self.spec.models]

    def write_meta(self, meta: dict[str, Any]) -> None:
        (self.folder / META_FILE).write_text(json.dumps(meta, indent=1))

    def report(self, fraction: float, message: str) -> None:
        """Raises Stopped when asked to stop."""
        self.stop.check()
        self.events.progress(fraction, message)


@dataclass(frozen=True)
class Answers:
    """What all models answer to a split: `targets` [N], and for each model, the fused one last, probabilities [N, K] or
    values [N]."""

    targets: np.ndarray
    predicted: list[np.ndarray]


@dataclass(frozen=True)
class Fused:
    """A model that lies in `Work.folder` but for its metrics: its `meta`, the `weights` [M] of what it was made from,
    answers by split (val, and test where there is one), `samples` to measure speed with, and the `temperature` that was
    fitted to a classifier when it was made."""

    meta: dict[str, Any]
    weights: np.ndarray
    answers: dict[str, Answers]
    samples: Samples
    temperature: float = 1.0
    notes: list[str] = field(default_factory=list)


def refuse(code: str, message: str, hint: str = "") -> ProgramFailure:
    """A failure for versions that do not go together."""
    return ProgramFailure(code, message, hint=hint or OLD_MODEL_HINT, blame="settings", field="versions")


def require_alike(work: Work, what: str, values: list[Any]) -> None:
    """Raises ProgramFailure different_models when `values`, one for each model, differ."""
    for model, value in zip(work.spec.models, values, strict=True):
        if value != values[0]:
            first = work.spec.models[0].name
            raise refuse("different_models", f"{model.name} has another {what} than {first}, so they cannot be fused.")
