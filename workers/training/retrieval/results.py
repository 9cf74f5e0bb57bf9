"""What a training to find answers leaves behind: the model's files, figures beside words alone, and mistakes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from workers.arrays import write_arrays
from workers.contract import ProgramFailure, TrainSpec
from workers.inference.retrieval_predictor import (
    ANSWERS_FILE,
    KNOWN,
    NETWORK,
    WEIGHTS_FILE,
    WHOLE,
    RetrievalPredictor,
)
from workers.lexical import Lexicon
from workers.retrieving import AnswerIndex, Certainty, Mixture
from workers.texts import TextEncoder
from workers.training.loop import FitResult
from workers.training.results import describe_training, library_versions
from workers.training.retrieval.data import Answered, Judged
from workers.training.retrieval.judging import (
    Found,
    ask_all,
    figures_of,
    knowing_figures,
    ranks_by,
    sure_of,
    tfidf_scorer,
)
from workers.training.text_results import shorten

MISTAKES, SHOWN_CHARACTERS = 24, 400
EXAMPLES, EXAMPLE_CHARACTERS = 6, 160
DIGITS = 6
PARITY_QUESTIONS, TOLERANCE = 64, 1e-4


@dataclass(frozen=True)
class Learned:
    """An index, and how it is asked."""

    index: AnswerIndex
    mixture: Mixture
    certainty: Certainty


@dataclass(frozen=True)
class Told:
    """What the model says to the questions of a split, and its figures."""

    found: Found
    figures: dict[str, float]


def judge_split(learned: Learned, judged: Judged, vectors: np.ndarray) -> Told:
    """`vectors` are those of the questions."""
    found = ask_all(learned.index, learned.mixture, judged, vectors)
    return Told(found, _rounded(figures_of(found.ranks) | knowing_figures(learned.certainty, found)))


def _rounded(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, DIGITS) for name, value in figures.items()}


def write_files(model: nn.Module, index: AnswerIndex, answered: Answered, folder: Path) -> None:
    """The weights and the index, all texts, and a sample; `model` is on the CPU."""
    arrays = {f"{NETWORK}{name}": value.numpy() for name, value in model.state_dict().items()}
    arrays[f"{NETWORK}log_scale"] = arrays[f"{NETWORK}log_scale"].reshape(1)
    arrays |= {"owners": index.owners, "whole": index.whole, "known": index.known}
    arrays |= index.whole_lexicon.to_arrays(WHOLE) | index.known_lexicon.to_arrays(KNOWN)
    write_arrays(arrays, folder / WEIGHTS_FILE)
    texts = {"answers": answered.answers, "questions": [answered.questions[row] for row in answered.known]}
    (folder / ANSWERS_FILE).write_text(json.dumps(texts, ensure_ascii=False), encoding="utf-8")
    sample = {"text": _shown(answered).texts[0]}
    (folder / "sample.json").write_text(json.dumps(sample, ensure_ascii=False, indent=1), encoding="utf-8")


def check_served(predictor: RetrievalPredictor, judged: Judged, vectors: np.ndarray) -> None:
    """Raises ProgramFailure (export_differs) where what is served makes other vectors of held-out questions."""
    served = predictor.encoder.vectors(judged.texts[:PARITY_QUESTIONS])
    gap = float(np.abs(served - vectors[:PARITY_QUESTIONS]).max())
    if not gap <= TOLERANCE:
        message = f"The exported encoder differs from the trained one by {gap:.2g}."
        raise ProgramFailure("export_differs", message, hint="Train again.", blame="machine")


def _shown(answered: Answered) -> Judged:
    return answered.judged("test" if len(answered.splits["test"]) else "val")


def describe_model(
    spec: TrainSpec, answered: Answered, encoder: TextEncoder, arguments: Mapping[str, Any], learned: Learned
) -> dict[str, Any]:
    """The body of meta.json but for the metrics: everything needed to use the model, and to load its weights again."""
    return {
        "format": 1,
        "task": spec.task,
        "architecture": "answer_index",
        "architecture_args": dict(arguments),
        "target": answered.answer_column,
        "input": {
            "kind": "text",
            "column": answered.question_column,
            "examples": examples(answered),
            "answers": len(answered.answers),
            "known_questions": len(answered.known),
        },
        "encoder": encoder.to_meta(),
        "mixture": asdict(learned.mixture),
        "certainty": asdict(learned.certainty),
        "runtime": "numpy",
        "sample": "sample.json",
        "hyperparameters": spec.hyperparameters,
        "versions": library_versions(),
    }


def examples(answered: Answered) -> list[str]:
    """Held-out questions to different answers, to try the model with."""
    judged = _shown(answered)
    by_answer: dict[int, str] = {}
    for text, right in zip(judged.texts, judged.truths, strict=True):
        if len(text) <= EXAMPLE_CHARACTERS:
            by_answer.setdefault(int(right[0]), text)
    found = list(by_answer.values()) or [shorten(judged.texts[0], EXAMPLE_CHARACTERS)]
    return [found[place] for place in np.linspace(0, len(found) - 1, min(EXAMPLES, len(found))).astype(int)]


def describe_result(
    model: nn.Module, fitted: FitResult, answered: Answered, learned: Learned, told: Mapping[str, Told],
    judged: Mapping[str, Judged],
) -> dict[str, Any]:  # fmt: skip
    """The body of result.json, but for the size of the model."""
    split = "test" if "test" in told else "val"
    return {
        "metrics": {name: each.figures for name, each in told.items()},
        "judged": {"split": split, "questions": len(judged[split]), "answers": len(answered.answers)},
        "baselines": baselines(answered, judged[split]),
        "mixture": asdict(learned.mixture),
        "threshold": learned.certainty.threshold,
        "mistakes": list_mistakes(answered, learned.certainty, judged[split], told[split].found),
        "architecture": "answer_index",
        **describe_training(model, fitted),
    }


def baselines(answered: Answered, judged: Judged) -> dict[str, dict[str, float]]:
    """Figures of whole words alone, by the same questions: BM25 and the cosine of TF-IDF vectors, each of an answer
    together with the questions that are known to lead to it."""
    documents = [[answer] for answer in answered.answers]
    for row in answered.known:
        documents[answered.answer_of[row]].append(answered.questions[row])
    texts = ["\n".join(document) for document in documents]
    scorers = {
        "bm25": Lexicon.of(texts, has_runs=False).scores,
        "tfidf": tfidf_scorer(texts),
    }
    count = len(answered.answers)
    return {name: _rounded(figures_of(ranks_by(score, judged, count))) for name, score in scorers.items()}


def list_mistakes(answered: Answered, certainty: Certainty, judged: Judged, found: Found) -> list[dict[str, Any]]:
    """The surest wrong answers, worst first."""
    sure, _other = sure_of(certainty, found)
    wrong = np.flatnonzero(~found.is_right)
    worst = wrong[np.argsort(-sure[wrong], kind="stable")][:MISTAKES]
    return [
        {"text": shorten(judged.texts[place], SHOWN_CHARACTERS),
         "true": shorten(answered.answers[judged.truths[place][0]], SHOWN_CHARACTERS),
         "predicted": shorten(answered.answers[found.first[place]], SHOWN_CHARACTERS),
         "probability": round(float(sure[place]), DIGITS)}
        for place in worst
    ]  # fmt: skip
