"""How good the answers are, where the data knows the right ones."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from workers.contract import LABEL_SEPARATOR
from workers.predicting.parts import Record
from workers.predicting.writing import probabilities_of
from workers.preprocessing.texts import key_of
from workers.spelling import Spelling
from workers.training.metrics import confusion_matrix, log_loss, macro_f1, regression_metrics
from workers.training.multi_label.figures import measure
from workers.training.speech_figures import error_rates

MOST_CLASSES_OF_A_MATRIX = 100
MOST_SCORES = 50_000_000  # of all items and labels


class ClassJudge:
    """Classes: accuracy, macro F1 and, where every probability is known, the log loss. Right answers that the model has
    no class for count as wrong, and stand in `unknown`."""

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = list(classes)
        self._places = {name: place for place, name in enumerate(classes)}
        self._truths, self._said, self._probabilities = array("q"), array("q"), array("d")
        self.unknown = 0

    def add(self, record: Record) -> None:
        if record["truth"] is None or record["answer"] is None:
            return
        answer = record["answer"]
        truth = self._places.get(record["truth"])
        if truth is None:
            self.unknown += 1
            return
        self._truths.append(truth)
        self._said.append(self._places[answer["class"]])
        self._probabilities.append(probabilities_of(answer).get(record["truth"], math.nan))

    def result(self) -> dict[str, Any]:
        """{} where nothing could be judged."""
        truths, said = (np.array(values, dtype=np.int64) for values in (self._truths, self._said))
        judged = len(truths) + self.unknown
        if not judged:
            return {}
        metrics = {"accuracy": int((truths == said).sum()) / judged}
        found: dict[str, Any] = {"metrics": metrics, "judged": judged, "unknown_classes": self.unknown}
        if not self.unknown:
            metrics["macro_f1"] = macro_f1(truths, said)
            of_the_truth = np.array(self._probabilities)[:, None]
            if not np.isnan(of_the_truth).any():  # each row's only column is the probability of its true class
                metrics["log_loss"] = log_loss(np.zeros(len(truths), dtype=np.int64), of_the_truth)
            if len(self.classes) <= MOST_CLASSES_OF_A_MATRIX:
                matrix = confusion_matrix(truths, said, len(self.classes))
                found["confusion"] = {"labels": self.classes, "matrix": matrix.tolist()}
        return found


class ValueJudge:
    """Values: root mean squared error, mean absolute error, and R²."""

    def __init__(self) -> None:
        self._truths, self._said = array("d"), array("d")

    def add(self, record: Record) -> None:
        if record["truth"] is None or record["answer"] is None:
            return
        try:
            truth = float(record["truth"])
        except ValueError:
            return
        if math.isfinite(truth):
            self._truths.append(truth)
            self._said.append(record["answer"]["value"])

    def result(self) -> dict[str, Any]:
        """{} where nothing could be judged."""
        if not self._truths:
            return {}
        metrics = regression_metrics(np.array(self._truths), np.array(self._said))
        return {"metrics": metrics, "judged": len(self._truths), "unknown_classes": 0}


class SpeechJudge:
    """What is said: word and character error rate, both as the model learned to write."""

    def __init__(self, spelling: Spelling) -> None:
        self.spelling = spelling
        self._truths: list[str] = []
        self._said: list[str] = []

    def add(self, record: Record) -> None:
        if record["truth"] is None or record["answer"] is None:
            return
        if truth := self.spelling.tidy(record["truth"]):
            self._truths.append(truth)
            self._said.append(record["answer"]["text"])

    def result(self) -> dict[str, Any]:
        """{} where nothing could be judged."""
        if not self._truths:
            return {}
        metrics = error_rates(self._said, self._truths)
        return {"metrics": metrics, "judged": len(self._truths), "unknown_classes": 0}


class LabelJudge:
    """Any number of labels for each item: mean average precision, micro and macro F1, and the share of the items that
    have just the right ones. Of items with a label that the model does not know none has, and only that share is told
    where there are any; `unknown` counts them. Of millions of items the first are judged, for `MOST_SCORES`."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._places = {name: place for place, name in enumerate(classes)}
        self._scores, self._thresholds = array("f"), array("f")
        self._truths, self._said, self._unknown = bytearray(), bytearray(), bytearray()

    def add(self, record: Record) -> None:
        if record["truth"] is None or record["answer"] is None or len(self._scores) >= MOST_SCORES:
            return
        labels = {label for label in record["truth"].split(LABEL_SEPARATOR) if label}
        by_name = {score["label"]: score for score in record["answer"]["scores"]}
        self._unknown.append(not labels <= self._places.keys())
        for name in self._places:
            score = by_name[name]
            self._truths.append(name in labels)
            self._said.append(score["is_said"])
            self._scores.append(score["probability"])
            self._thresholds.append(score["threshold"])

    def result(self) -> dict[str, Any]:
        """{} where nothing could be judged."""
        if not self._unknown:
            return {}
        shape = (len(self._unknown), len(self._places))
        truths, said = (np.frombuffer(values, dtype=bool).reshape(shape) for values in (self._truths, self._said))
        scores, thresholds = (
            np.array(values, dtype=np.float64).reshape(shape) for values in (self._scores, self._thresholds)
        )
        unknown = np.frombuffer(self._unknown, dtype=bool)
        if unknown.any():
            metrics = {"exact_match": float(((truths == said).all(axis=1) & ~unknown).mean())}
        else:
            # Answers hold rounded numbers, so a label that is hardly not said could seem to reach its threshold.
            below = np.minimum(scores, np.nextafter(thresholds, -1))
            metrics = measure(truths, np.where(said, np.maximum(scores, thresholds), below), thresholds[0])
            del metrics["loss"]
        return {"metrics": metrics, "judged": len(unknown), "unknown_classes": int(unknown.sum())}


class NoJudge:
    """Answers that are neither a class nor a value are not judged."""

    def add(self, record: Record) -> None:
        pass

    def result(self) -> dict[str, Any]:
        return {}


class AnswerJudge:
    """Answers that were found: how often the right one comes first, and how often it is among those that are listed."""

    def __init__(self) -> None:
        self._places = array("q")

    def add(self, record: Record) -> None:
        if record["truth"] is None or record["answer"] is None:
            return
        truth = key_of(record["truth"])
        keys = [key_of(item["answer"]) for item in record["answer"]["answers"]]
        self._places.append(keys.index(truth) + 1 if truth in keys else 0)

    def result(self) -> dict[str, Any]:
        """{} where nothing could be judged."""
        places = np.array(self._places)
        if not len(places):
            return {}
        metrics = {"recall_at_1": float((places == 1).mean()), "recall_at_5": float((places > 0).mean())}
        return {"metrics": metrics, "judged": len(places), "unknown_classes": 0}


Judge = ClassJudge | ValueJudge | SpeechJudge | AnswerJudge | LabelJudge | NoJudge


def judge_for(meta: Mapping[str, Any], first_answer: dict[str, Any] | None) -> Judge:
    """The one that suits what a model answers."""
    if "knows" in (first_answer or {}):
        return AnswerJudge()
    classes = meta.get("classes")
    if classes and "class" in (first_answer or {}):
        return ClassJudge(classes)
    if classes and "scores" in (first_answer or {}) and "labels" in first_answer:
        return LabelJudge(classes)
    if "spelling" in meta and "text" in (first_answer or {}):
        return SpeechJudge(Spelling(**meta["spelling"]))
    return ValueJudge() if "value" in (first_answer or {}) else NoJudge()
