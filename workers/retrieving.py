"""Finding the answer to a question among all answers, the same way in training and in serving. numpy only.

A text becomes a vector of length 1: the sum of the embeddings of its words and runs of characters, each weighed by how
rare it is (`Encoder`). An answer is looked at in two ways: as a whole, which is its text with all questions that are
known to lead to it, and by the one of these questions that is most like what is asked. Each way mixes what the vectors
say (their cosine) with what the words say (BM25, workers/lexical.py):

    s(q, d) = m max(0, q·d) + (1 - m) bm25(q, d)
    score(q, a) = w s(q, whole of a) + (1 - w) max over the known questions k of a of s(q, k)

An answer without a known question has its whole in the place of both. m and w (`Mixture`) were chosen on validation
questions. All answers are compared; nothing is approximated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from workers.lexical import Lexicon
from workers.texts import TextEncoder

LEAST = 1e-6


@dataclass(frozen=True)
class Encoder:
    """`embedding` float32 [ids, width] and `weights` float32 [ids]: how much each id of `texts` counts."""

    texts: TextEncoder
    embedding: np.ndarray
    weights: np.ndarray

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [texts, width], each of length 1; of length 0 where nothing of a text is known."""
        found = np.zeros((len(texts), self.embedding.shape[1]), dtype=np.float32)
        for row, text in zip(found, texts, strict=True):
            ids = self.texts.ids(text)
            known = self.weights[ids]
            is_word = ids <= self.texts.word_buckets
            counted = of_length_one(np.where(is_word, known, 0.0)) + of_length_one(np.where(is_word, 0.0, known))
            row[:] = of_length_one(counted @ self.embedding[ids])
        return found


def of_length_one(vectors: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    return vectors / np.maximum(np.sqrt(np.square(vectors).sum(axis=-1, keepdims=True)), LEAST)


@dataclass(frozen=True)
class Mixture:
    """`vectors` is m, `whole` is w in the formula above."""

    vectors: float
    whole: float


@dataclass(frozen=True)
class Compared:
    """How well questions go with all answers as a whole, [questions, answers], and with all known questions,
    [questions, known], by vectors (`cosines`) and by words."""

    whole_cosines: np.ndarray
    whole_words: np.ndarray
    known_cosines: np.ndarray
    known_words: np.ndarray


@dataclass(frozen=True)
class AnswerIndex:
    """All answers and the questions that are known to lead to them.

    `owners` int32 [known], ascending, is the number of the answer of each known question. `whole` float32 [answers,
    width] and `known` float32 [known, width] are of length 1.
    """

    owners: np.ndarray
    whole: np.ndarray
    known: np.ndarray
    whole_lexicon: Lexicon
    known_lexicon: Lexicon

    @classmethod
    def of(cls, owners: np.ndarray, questions: Sequence[str], answers: Sequence[str]) -> AnswerIndex:
        """With the words of all texts, and vectors of no length (`with_vectors`)."""
        texts = [[answer] for answer in answers]
        for owner, question in zip(owners.tolist(), questions, strict=True):
            texts[owner].append(question)
        none = (np.zeros((len(texts), 1), dtype=np.float32), np.zeros((len(questions), 1), dtype=np.float32))
        words = (Lexicon.of(["\n".join(parts) for parts in texts]), Lexicon.of(questions))
        return cls(owners.astype(np.int32), *none, *words)

    def with_vectors(self, known: np.ndarray, own: np.ndarray) -> AnswerIndex:
        """`known` are the vectors of the known questions, `own` those of the answers' texts."""
        whole = own.astype(np.float64)
        np.add.at(whole, self.owners, known)
        return replace(self, whole=of_length_one(whole).astype(np.float32), known=known.astype(np.float32))

    def compare(self, questions: Sequence[str], vectors: np.ndarray) -> Compared:
        """`vectors` are those of the questions."""
        return Compared(
            np.maximum(vectors @ self.whole.T, 0),
            self.whole_lexicon.scores(questions),
            np.maximum(vectors @ self.known.T, 0),
            self.known_lexicon.scores(questions),
        )

    def known_scores(self, compared: Compared, mixture: Mixture) -> np.ndarray:
        """float32 [questions, known]"""
        return mixed(compared.known_cosines, compared.known_words, mixture.vectors)

    def scores(self, compared: Compared, mixture: Mixture) -> np.ndarray:
        """float32 [questions, answers], from 0 to 1."""
        whole = mixed(compared.whole_cosines, compared.whole_words, mixture.vectors)
        return self.joined(whole, self.nearest(self.known_scores(compared, mixture), whole), mixture.whole)

    def nearest(self, known: np.ndarray, whole: np.ndarray) -> np.ndarray:
        """float32 [questions, answers]: of each answer the best of its known questions, or else its whole."""
        if not len(self.owners):
            return whole
        answers, starts = np.unique(self.owners, return_index=True)
        found = whole.copy()
        found[:, answers] = np.maximum.reduceat(known, starts, axis=1)
        return found

    @staticmethod
    def joined(whole: np.ndarray, nearest: np.ndarray, share: float) -> np.ndarray:
        return mixed(whole, nearest, share)

    def nearest_question(self, known: np.ndarray, answer: int) -> int:
        """The number of the known question of `answer` with the highest of the scores [known]; -1 for none."""
        first, last = np.searchsorted(self.owners, [answer, answer + 1])
        return int(first + np.argmax(known[first:last])) if last > first else -1


def mixed(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    return np.float32(share) * first + np.float32(1 - share) * second


@dataclass(frozen=True)
class Certainty:
    """How sure it is that the first answer is right: 1 / (1 + exp(-(a s + b (s - t) + c))), with s and t the scores of
    the first and the second answer. Below `threshold` the model says that it does not know."""

    score: float
    margin: float
    bias: float
    threshold: float

    def of(self, scores: np.ndarray) -> np.ndarray:
        """float64 [questions] for the scores of all answers [questions, answers]."""
        return self.of_best(*best_and_margin(scores))

    def of_best(self, first: np.ndarray, margin: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-np.clip(self.score * first + self.margin * margin + self.bias, -30, 30)))


def best_and_margin(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The highest score of each row, and how far the second is below it (all of it where there is none)."""
    if scores.shape[1] < 2:
        return scores[:, 0].astype(np.float64), scores[:, 0].astype(np.float64)
    second, first = np.partition(scores, -2, axis=1)[:, -2:].T.astype(np.float64)
    return first, first - second
