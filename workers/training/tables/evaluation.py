"""What the trained model is worth: metrics, confusion, the worst mistakes, and which columns it leans on."""

from __future__ import annotations

from typing import Any

import numpy as np

from workers.inference.table_predictor import TablePredictor
from workers.tables.encoder import Encoded
from workers.training.calibration import calibration_of
from workers.training.metrics import confusion_matrix
from workers.training.operating import operating_points
from workers.training.tables.search import Chosen
from workers.training.tables.study import Study

MAX_MISTAKES = 24
MAX_IMPORTANCES = 20
IMPORTANCE_ROWS = 1000
IMPORTANCE_CELLS = 60_000


def predict_split(study: Study, predictor: TablePredictor, split: str) -> np.ndarray:
    """What serving would answer for the rows of `split`: probabilities, or values in the target's unit."""
    return predictor.predict([study.table.rows[number] for number in study.table.splits[split]])


def test_metrics(study: Study, predicted: np.ndarray) -> dict[str, float]:
    """Metrics of `predict_split` on the test rows."""
    target = study.table.target
    standardised = predicted if study.classes else (predicted - target.mean) / target.scale
    return study.measure(standardised.astype(np.float64), study.table.splits["test"])


def confusion(study: Study, predicted: np.ndarray, rows: np.ndarray) -> list[list[int]]:
    """Counts: a row for each true class, a column for each predicted one."""
    return confusion_matrix(study.table.targets[rows], predicted.argmax(axis=1), study.classes).tolist()


def operating(study: Study, predicted: np.ndarray, rows: np.ndarray) -> list[dict[str, Any]]:
    """See workers.training.operating; none for a regression."""
    targets = study.table.targets[rows]
    return operating_points(study.table.target.classes, targets, predicted) if study.classes else []


def calibration(study: Study, predicted: np.ndarray, rows: np.ndarray, temperature: float) -> dict[str, Any] | None:
    """See workers.training.calibration; none for a regression."""
    return calibration_of(study.table.targets[rows], predicted, temperature) if study.classes else None


def find_mistakes(study: Study, predicted: np.ndarray) -> list[dict[str, Any]]:
    """Up to 24 test rows that the model got most wrong, the worst first."""
    rows = study.table.splits["test"]
    return (_wrong_classes if study.classes else _far_values)(study, predicted, rows)


def _wrong_classes(study: Study, predicted: np.ndarray, rows: np.ndarray) -> list[dict[str, Any]]:
    classes, targets, guesses = study.table.target.classes, study.table.targets[rows], predicted.argmax(axis=1)
    wrong = np.flatnonzero(guesses != targets)
    worst = wrong[np.argsort(predicted[wrong, targets[wrong]], kind="stable")][:MAX_MISTAKES]
    return [
        {
            "row": _shown(study, rows[number]),
            "true": classes[targets[number]],
            "predicted": classes[guesses[number]],
            "probability": float(predicted[number, guesses[number]]),
        }
        for number in worst
    ]


def _far_values(study: Study, predicted: np.ndarray, rows: np.ndarray) -> list[dict[str, Any]]:
    targets = study.table.target.original(study.table.targets[rows])
    worst = np.argsort(-np.abs(predicted - targets), kind="stable")[:MAX_MISTAKES]
    return [
        {
            "row": _shown(study, rows[number]),
            "true": float(targets[number]),
            "predicted": float(predicted[number]),
            "error": float(predicted[number] - targets[number]),
        }
        for number in worst
    ]


def _shown(study: Study, number: int) -> dict[str, Any]:
    return {name: value for name, value in study.table.rows[number].items() if name != study.table.target.name}


def feature_importance(study: Study, chosen: Chosen) -> list[dict[str, Any]]:
    """By how much the loss grows on held-out rows when a column's values are shuffled; the highest 20.

    Asked of the first members, about rows which they have not seen.
    """
    columns = study.table.encoder.feature_columns()
    names = list(dict.fromkeys(columns))
    generator = np.random.default_rng(study.hyperparameters["seed"])
    count = max(50, min(IMPORTANCE_ROWS, IMPORTANCE_CELLS // len(names)))
    rows = generator.permutation(chosen.first_holdout)[:count]
    encoded = study.table.encoded[rows]
    usual = study.loss(chosen.predict_first_member(study, encoded), rows)
    found = []
    for name in names:
        shuffled = _shuffle(encoded, np.array(columns) == name, generator)
        loss = study.loss(chosen.predict_first_member(study, shuffled), rows)
        found.append({"column": name, "importance": loss - usual})
    return sorted(found, key=lambda item: -item["importance"])[:MAX_IMPORTANCES]


def _shuffle(encoded: Encoded, features: np.ndarray, generator: np.random.Generator) -> Encoded:
    order, count = generator.permutation(len(encoded)), encoded.numeric.shape[1]
    numeric, categorical = encoded.numeric.copy(), encoded.categorical.copy()
    numeric[:, features[:count]] = numeric[order][:, features[:count]]
    categorical[:, features[count:]] = categorical[order][:, features[count:]]
    return Encoded(numeric, categorical)
