"""A model that finds the answer to a question."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from workers.arrays import read_arrays
from workers.inference.files import read_column
from workers.inference.outcomes import PROBABILITY_DIGITS
from workers.lexical import Lexicon, terms_of
from workers.retrieving import AnswerIndex, Certainty, Encoder, Mixture
from workers.texts import TextEncoder

WEIGHTS_FILE, ANSWERS_FILE = "model.safetensors", "answers.json"
NETWORK, WHOLE, KNOWN = "network.", "whole.", "known."
USUAL_ANSWERS, MOST_ANSWERS = 5, 50
CELLS_AT_ONCE = 4_000_000  # answers and known questions compared with questions


@dataclass(frozen=True)
class Retrieved:
    """The answer to one question: `places` are numbers of answers, best first, with their `scores` and, for each, the
    number of the known question that is most like what was asked, -1 for none. `confidence` is that the first is
    right."""

    places: np.ndarray
    scores: np.ndarray
    questions: np.ndarray
    confidence: float
    knows: bool

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """By which two machines are compared: the scores, best first."""
        return np.asarray(self.scores, dtype=dtype)


class RetrievalPredictor:
    """The answers that go best with a question, out of all that the model was trained with, and whether it knows. A
    question with the words of a known one has that one's answer, or its answers, with the highest score."""

    classes: list[str] = []

    def __init__(self, model_dir: Path, meta: dict[str, Any], threads: int) -> None:
        self.meta = meta
        self.sample: str = json.loads((model_dir / meta["sample"]).read_text(encoding="utf-8"))["text"]
        texts = json.loads((model_dir / ANSWERS_FILE).read_text(encoding="utf-8"))
        self.answers: list[str] = texts["answers"]
        self.questions: list[str] = texts["questions"]
        arrays = read_arrays(model_dir / WEIGHTS_FILE)
        encoder = TextEncoder.from_meta(meta["encoder"])
        self.encoder = Encoder(encoder, arrays[f"{NETWORK}bag.embedding.weight"], arrays[f"{NETWORK}weights"])
        self._index = AnswerIndex(
            arrays["owners"],
            arrays["whole"],
            arrays["known"],
            Lexicon.from_arrays(arrays, WHOLE, len(self.answers)),
            Lexicon.from_arrays(arrays, KNOWN, len(self.questions)),
        )
        self._mixture = Mixture(**meta["mixture"])
        self._certainty = Certainty(**meta["certainty"])
        _check_sizes(self, self.encoder, self._index)
        taught: dict[tuple[str, ...], dict[int, None]] = defaultdict(dict)
        for owner, question in zip(arrays["owners"].tolist(), self.questions, strict=True):
            taught[tuple(terms_of(question))][owner] = None
        self._taught = {words: list(owners) for words, owners in taught.items()}

    def encode(self, items: Sequence[str]) -> list[str]:
        return list(items)

    def feed(self, items: Sequence[str]) -> dict[str, np.ndarray]:
        return {}  # there is no graph

    def run(self, encoded: Sequence[str]) -> list[Retrieved]:
        step = max(1, CELLS_AT_ONCE // (len(self.answers) + len(self.questions)))
        return [
            found
            for start in range(0, len(encoded), step)
            for found in self._find(encoded[start : start + step])
        ]  # fmt: skip

    def predict(self, items: Sequence[str]) -> list[Retrieved]:
        return self.run(self.encode(items))

    def _find(self, questions: Sequence[str]) -> list[Retrieved]:
        compared = self._index.compare(questions, self.encoder.vectors(questions))
        known = self._index.known_scores(compared, self._mixture)
        scores = self._index.scores(compared, self._mixture)
        sure = self._certainty.of(scores)
        for number, question in enumerate(questions):
            words = tuple(terms_of(question))
            if not words:
                sure[number] = 0.0  # marks alone ask for nothing
            elif taught := self._taught.get(words):
                scores[number, taught] = 1.0
                sure[number] = 1 / len(taught)
        return [self._best(*row) for row in zip(scores, known, sure.tolist(), strict=True)]

    def _best(self, scores: np.ndarray, known: np.ndarray, confidence: float) -> Retrieved:
        places = np.argsort(-scores, kind="stable")[:MOST_ANSWERS]
        questions = np.array([self._index.nearest_question(known, place) for place in places.tolist()])
        return Retrieved(places, scores[places], questions, confidence, confidence >= self._certainty.threshold)

    def items_in(self, path: Path) -> list[str]:
        """The lines of a text file, or the column of a CSV file that was learned from. Raises ProgramFailure."""
        return read_column(path, self.meta["input"]["column"])

    def outcome(self, output: Retrieved, top_k: int | None = None) -> dict[str, Any]:
        """{"answers": [{"answer", "score", "question"}], "confidence", "knows"}; a question is "" where none is
        known."""
        most = min(len(output.places), top_k or USUAL_ANSWERS)
        return {
            "answers": [self._answer(output, number) for number in range(most)],
            "confidence": round(output.confidence, PROBABILITY_DIGITS),
            "knows": output.knows,
        }

    def _answer(self, output: Retrieved, number: int) -> dict[str, Any]:
        question = int(output.questions[number])
        return {
            "answer": self.answers[output.places[number]],
            "score": round(float(output.scores[number]), PROBABILITY_DIGITS),
            "question": self.questions[question] if question >= 0 else "",
        }


def _check_sizes(model: RetrievalPredictor, encoder: Encoder, index: AnswerIndex) -> None:
    """Raises ValueError for files that do not belong together."""
    is_whole = len(index.whole) == len(model.answers) and len(index.known) == len(model.questions) == len(index.owners)
    if not is_whole or not len(encoder.embedding) == len(encoder.weights) == encoder.texts.ids_in_all:
        raise ValueError("the answers and the arrays are of different sizes")
    if len(index.owners) and not 0 <= int(index.owners.min()) <= int(index.owners.max()) < len(model.answers):
        raise ValueError("a question leads to an answer that there is not")
