"""What every candidate of one training shares: the table, the settings, how losses are taken, and how it reports."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from workers.contract import EventWriter
from workers.tables.encoder import Encoded
from workers.training import metrics
from workers.training.stopping import Stop
from workers.training.tables.checkpointing import Keeper
from workers.training.tables.data import Fold, Table
from workers.training.tables.pieces import Pieces
from workers.trees import Arrays

Span = tuple[float, float]


@dataclass(frozen=True)
class FittedMember:
    """One model: its arrays, and one row for each epoch or boosting round."""

    arrays: Arrays
    history: list[dict[str, float]]


@dataclass
class Study:
    """One training run over one table."""

    table: Table
    hyperparameters: dict[str, Any]
    events: EventWriter
    stop: Stop
    keeper: Keeper
    threads: int = 1
    device: str = "cpu"

    @property
    def classes(self) -> int:
        """Number of classes, 0 for regression."""
        return len(self.table.target.classes)

    @cached_property
    def pieces(self) -> Pieces:
        """What linear models cut numbers into, the same in every fold."""
        return Pieces.of(self.table.encoded.numeric[self.table.development])

    @property
    def class_weight(self) -> str | None:
        return "balanced" if self.hyperparameters.get("class_weights") == "balanced" else None

    def losses(self, predicted: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """[N] for row numbers `rows`: log loss, or squared (mae: absolute) error."""
        targets = self.table.targets[rows]
        if self.classes:
            return metrics.log_losses(targets, predicted)
        errors = np.abs(targets - predicted)
        return errors if self.hyperparameters["loss"] == "mae" else errors**2

    def loss(self, predicted: np.ndarray, rows: np.ndarray) -> float:
        """What candidates are compared by: the mean of `losses`."""
        return float(np.mean(self.losses(predicted, rows)))

    def headline(self, predicted: np.ndarray, rows: np.ndarray) -> dict[str, float]:
        """The one figure people look at: accuracy, or rmse in the target's unit."""
        targets = self.table.targets[rows]
        if self.classes:
            return {"accuracy": metrics.accuracy(targets, predicted.argmax(axis=1))}
        return {"rmse": metrics.rmse(targets, predicted) * self.table.target.scale}

    def measure(self, predicted: np.ndarray, rows: np.ndarray) -> dict[str, float]:
        """Every metric of the task on row numbers `rows`, in the target's unit."""
        targets = self.table.targets[rows]
        if self.classes:
            return metrics.classification_metrics(targets, predicted)
        original = self.table.target.original
        return metrics.regression_metrics(original(targets), original(predicted))

    def curves(self, key: str) -> EventWriter:
        """Where model `key` reports. Only the first model draws curves: those of the next would run over them."""
        self.keeper.curve_key = self.keeper.curve_key or key
        return self.keeper.curves(key)


class Candidate(Protocol):
    """A kind of model with its settings. `family` is trees, linear or mlp."""

    name: str
    family: str

    def fit(self, study: Study, fold: Fold, key: str, span: Span) -> FittedMember:
        """Train on the fold. Raises Stopped, after a checkpoint."""
        ...

    def predict(self, study: Study, arrays: Arrays, rows: Encoded) -> np.ndarray:
        """Probabilities [N, classes] or standardised values [N]."""
        ...


def identity(data_path: str, table: Table, hyperparameters: dict[str, Any]) -> dict[str, Any]:
    """What must be the same for a checkpoint to be this training's."""
    return {
        "hyperparameters": hyperparameters,
        "target": table.target.name,
        "rows": len(table.rows),
        "data_bytes": Path(data_path).stat().st_size,
        "features": table.encoder.feature_columns(),
    }
