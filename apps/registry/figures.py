"""Measured values as people read them: a label, a unit, and which way is better."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext_lazy as _

from workers.contract import (
    ANSWER_RETRIEVAL,
    AUDIO_CLASSIFICATION,
    FORECASTING,
    IMAGE_CLASSIFICATION,
    MULTI_LABEL_IMAGES,
    RECOMMENDATION,
    SPEECH_RECOGNITION,
    TABULAR_CLASSIFICATION,
    TABULAR_REGRESSION,
    TEXT_CLASSIFICATION,
    TRANSLATION,
)

PERCENT, PLAIN, POINTS = "percent", "plain", "points"

# name: (label, how it is written, whether higher is better)
KNOWN = {
    "accuracy": (_("Accuracy"), PERCENT, True),
    "mean_average_precision": (_("Mean average precision"), PERCENT, True),
    "micro_f1": (_("Micro F1"), PERCENT, True),
    "exact_match": (_("All labels right"), PERCENT, True),
    "wer": (_("Word error rate"), PERCENT, False),
    "cer": (_("Character error rate"), PERCENT, False),
    "bleu": (_("BLEU"), POINTS, True),
    "chrf": (_("chrF"), POINTS, True),
    "all_right": (_("Right word for word"), PERCENT, True),
    "token_accuracy": (_("Next pieces right"), PERCENT, True),
    "ndcg_at_10": (_("NDCG@10"), PLAIN, True),
    "recall_at_1": (_("Recall@1"), PERCENT, True),
    "recall_at_5": (_("Recall@5"), PERCENT, True),
    "recall_at_10": (_("Recall@10"), PERCENT, True),
    "mrr": (_("Mean reciprocal rank"), PLAIN, True),
    "answered": (_("Says that it knows"), PERCENT, True),
    "right_when_answered": (_("Right when it says so"), PERCENT, True),
    "refused_without_answer": (_("Does not know what has no answer"), PERCENT, True),
    "hit_rate_at_10": (_("Hit rate@10"), PERCENT, True),
    "coverage_at_10": (_("Coverage@10"), PERCENT, True),
    "macro_f1": (_("Macro F1"), PERCENT, True),
    "auc": (_("Area under ROC"), PLAIN, True),
    "r2": (_("R²"), PLAIN, True),
    "loss": (_("Loss"), PLAIN, False),
    "log_loss": (_("Log loss"), PLAIN, False),
    "mase": (_("Scaled error (MASE)"), PLAIN, False),
    "rmse": (_("Root mean squared error"), PLAIN, False),
    "mae": (_("Mean absolute error"), PLAIN, False),
    "smape": (_("Symmetric error (sMAPE)"), PERCENT, False),
    "coverage_80": (_("Truth within the 80 % range"), PERCENT, True),
    "width_80": (_("Width of the 80 % range"), PLAIN, False),
    "pinball": (_("Pinball loss"), PLAIN, False),
    "ece": (_("Calibration error"), PERCENT, False),
}
TASK_LABELS = {
    IMAGE_CLASSIFICATION: _("Image classification"),
    TABULAR_CLASSIFICATION: _("Table classification"),
    TABULAR_REGRESSION: _("Table regression"),
    TEXT_CLASSIFICATION: _("Text classification"),
    TRANSLATION: _("Translation"),
    AUDIO_CLASSIFICATION: _("Audio classification"),
    SPEECH_RECOGNITION: _("Speech recognition"),
    RECOMMENDATION: _("Recommendation"),
    MULTI_LABEL_IMAGES: _("Images with several labels"),
    FORECASTING: _("Forecasting"),
    ANSWER_RETRIEVAL: _("Finding answers"),
}
FILE_PURPOSES = {
    "model.safetensors": _("weights"),
    "model.onnx": _("graph with weights, for ONNX Runtime"),
    "model.onnx.packed": _("graph with weights, packed; predict.py in the ZIP reads it"),
    "reader.onnx": _("graph that reads a text, for ONNX Runtime"),
    "writer.onnx": _("graph that writes the next piece of a translation, for ONNX Runtime"),
    "pieces.json": _("pieces of words of both languages"),
    "source_pieces.json": _("pieces of words of what is translated"),
    "target_pieces.json": _("pieces of words of the translations"),
    "tokenizer.json": _("how texts are cut into pieces, from the checkpoint"),
    "language.json": _("which character follows which in the transcripts"),
    "parity.json": _("the answer to the sample, to check a copy by"),
    "meta.json": _("input, classes and settings"),
    "series.json": _("the names of the series"),
    "catalogue.json": _("the items with their names, and the users"),
    "answers.json": _("the answers, and the questions that lead to them"),
    "heldout.safetensors": _("answers to rows it was not trained on, by which fusions are judged"),
    "sample.png": _("an input to try it with"),
    "sample.wav": _("an input to try it with"),
    "sample.json": _("an input to try it with"),
}
DOWNLOADS = {"model.safetensors": "safetensors", "model.onnx": "ONNX", "model.onnx.packed": _("ONNX, packed")}
HEADLINES = (
    "accuracy",
    "mean_average_precision",
    "wer",
    "bleu",
    "ndcg_at_10",
    "recall_at_1",
    "r2",
    "mase",
    "rmse",
    "mae",
    "auc",
    "macro_f1",
    "loss",
)


@dataclass(frozen=True)
class Figure:
    """One measured value of a split, ready to show; `baseline` is what a baseline reaches, where it is known."""

    name: str
    label: str
    value: float
    text: str
    is_higher_better: bool
    baseline: str = ""


@dataclass(frozen=True)
class Difference:
    """One row of a comparison; `better` is "left", "right" or "" where they are equal or one is missing."""

    label: str
    left: str
    right: str
    change: str
    better: str


def plain(value: float) -> str:
    """Four significant digits, or whole numbers in groups: 0.08231 -> "0.08231", 52341.7 -> "52,342"."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def write(name: str, value: float) -> str:
    """As the figure is usually written; of one under a thousandth two digits say enough."""
    how = KNOWN.get(name, ("", PLAIN, True))[1]
    if how == POINTS:
        return f"{value:.1f}"
    if how == PERCENT:
        return f"{value * 100:.1f} %"
    return f"{value:.2g}" if 0 < abs(value) < 0.001 else plain(value)


def share_text(weight: float) -> str:
    """How much of a version went into a fused one."""
    return f"{weight * 100:.0f} %" if weight else str(_("left out"))


def figure(name: str, value: float, baseline: float | None = None) -> Figure:
    label, _how, is_higher_better = KNOWN.get(name, (name.replace("_", " ").capitalize(), PLAIN, True))
    beside = "" if baseline is None else write(name, baseline)
    return Figure(name, str(label), value, write(name, value), is_higher_better, beside)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def figures(values: Mapping[str, Any] | None, baseline: Mapping[str, Any] | None = None) -> list[Figure]:
    """The numbers of one split, the ones people look at first in front, with those of a baseline beside them."""
    known = {name: float(value) for name, value in (baseline or {}).items() if is_number(value)}
    numbers = {name: float(value) for name, value in (values or {}).items() if is_number(value)}
    order = {name: place for place, name in enumerate(KNOWN)}
    ordered = sorted(numbers, key=lambda name: order.get(name, len(order)))
    return [figure(name, numbers[name], known.get(name)) for name in ordered]


def headline(metrics: Mapping[str, Any] | None) -> Figure | None:
    """The one figure a version is known by: accuracy, or R² for a regression; of the test split where there is one."""
    for split in ("test", "val", "train"):
        values = (metrics or {}).get(split) or {}
        for name in HEADLINES:
            if is_number(values.get(name)):
                return figure(name, float(values[name]))
    return None


def compare(left: Mapping[str, Any], right: Mapping[str, Any]) -> list[Difference]:
    """The figures of two splits side by side, with the change from left to right."""
    ours, theirs = ({item.name: item for item in figures(values)} for values in (left, right))
    return [_difference(ours.get(name), theirs.get(name)) for name in ours | theirs]


def _difference(left: Figure | None, right: Figure | None) -> Difference:
    known = left or right
    if left is None or right is None:
        return Difference(known.label, left.text if left else "–", right.text if right else "–", "–", "")
    change = right.value - left.value
    size = write(known.name, abs(change)).replace(" %", " pp")
    if not change or size == "0.0 pp":
        return Difference(known.label, left.text, right.text, f"±{size}", "")
    better = "right" if (change > 0) == known.is_higher_better else "left"
    return Difference(known.label, left.text, right.text, f"{'+' if change > 0 else '−'}{size}", better)
