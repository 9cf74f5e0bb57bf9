"""How good predictions are. Numpy only.

`labels` and `predicted` are class numbers [N]; `probabilities` are [N, K] with rows that sum to 1.
"""

from __future__ import annotations

import numpy as np

SMALLEST = 1e-12
CALIBRATION_BINS = 15
MOST_AUC_CLASSES = 200  # each is a sort of all answers


def accuracy(labels: np.ndarray, predicted: np.ndarray) -> float:
    """The share of right answers."""
    return float(np.mean(labels == predicted))


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Counts [K, K]: row = true class, column = predicted class."""
    flat = labels.astype(np.int64) * classes + predicted.astype(np.int64)
    return np.bincount(flat, minlength=classes * classes).reshape(classes, classes)


def macro_f1(labels: np.ndarray, predicted: np.ndarray) -> float:
    """The mean over all classes that occur of F1 = 2 TP / (2 TP + FP + FN)."""
    classes = int(max(labels.max(), predicted.max())) + 1
    matrix = confusion_matrix(labels, predicted, classes)
    hits, seen = np.diag(matrix), matrix.sum(axis=0) + matrix.sum(axis=1)
    return float(np.mean(2 * hits[seen > 0] / seen[seen > 0]))


def log_losses(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """-ln p(true class) of each row [N]."""
    return -np.log(np.clip(probabilities[np.arange(len(labels)), labels], SMALLEST, 1.0))


def log_loss(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """The mean of -ln p(true class)."""
    return float(np.mean(log_losses(labels, probabilities)))


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve: the chance that a positive (1) scores above a negative (0); ties count half.

    NaN when only one of the two classes occurs.
    """
    positives, negatives = np.sort(scores[labels == 1]), np.sort(scores[labels != 1])
    pairs = len(positives) * len(negatives)
    if pairs == 0:
        return float("nan")
    below, up_to = (np.searchsorted(negatives, positives, side) for side in ("left", "right"))
    return float((below.sum() + up_to.sum()) / (2 * pairs))


def macro_auc(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """The mean over all classes that occur of the AUC of each against all others, by its probability.

    Every class has the same say, as in scikit-learn's roc_auc_score(multi_class="ovr", average="macro"); Hand and Till
    (2001) compare pairs of classes instead. NaN when only one class occurs.
    """
    present = np.unique(labels)
    return float(np.mean([auc(labels == number, probabilities[:, number]) for number in present]))


def expected_calibration_error(labels: np.ndarray, probabilities: np.ndarray, bins: int = CALIBRATION_BINS) -> float:
    """The mean gap between confidence and accuracy, over `bins` equally wide ranges of confidence."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(bin_of, weights=confidence - right, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def rmse(targets: np.ndarray, predicted: np.ndarray) -> float:
    """Root of the mean squared error, in the target's unit."""
    return float(np.sqrt(np.mean((targets - predicted) ** 2)))


def mae(targets: np.ndarray, predicted: np.ndarray) -> float:
    """Mean absolute error, in the target's unit."""
    return float(np.mean(np.abs(targets - predicted)))


def pinball_loss(targets: np.ndarray, predicted: np.ndarray, quantile: float) -> float:
    """The mean of max(q (y - f), (q - 1) (y - f)), in the target's unit: smallest where f is the q-quantile of y."""
    missed = targets - predicted
    return float(np.mean(np.maximum(quantile * missed, (quantile - 1) * missed)))


def r2(targets: np.ndarray, predicted: np.ndarray) -> float:
    """The share of variance explained: 1 is perfect, 0 is as good as the mean. NaN where all targets are equal."""
    variation = float(np.sum((targets - targets.mean()) ** 2))
    return 1 - float(np.sum((targets - predicted) ** 2)) / variation if variation > 0 else float("nan")


def classification_metrics(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """accuracy, macro_f1, log_loss, ece, and auc where two classes to 200 occur: of the second where there are two,
    else the macro average (see `macro_auc`)."""
    predicted = probabilities.argmax(axis=1)
    metrics = {
        "accuracy": accuracy(labels, predicted),
        "macro_f1": macro_f1(labels, predicted),
        "log_loss": log_loss(labels, probabilities),
        "ece": expected_calibration_error(labels, probabilities),
    }
    if 2 <= len(np.unique(labels)) <= MOST_AUC_CLASSES:
        is_pair = probabilities.shape[1] == 2
        metrics["auc"] = auc(labels, probabilities[:, 1]) if is_pair else macro_auc(labels, probabilities)
    return metrics


def regression_metrics(targets: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """rmse, mae, and r2 where the targets differ."""
    metrics = {"rmse": rmse(targets, predicted), "mae": mae(targets, predicted), "r2": r2(targets, predicted)}
    return {name: value for name, value in metrics.items() if np.isfinite(value)}
