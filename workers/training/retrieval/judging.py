"""How well answers are found, how words and vectors are mixed, and when the model should say that it does not know."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from workers.lexical import terms_of
from workers.retrieving import AnswerIndex, Certainty, Compared, Mixture, best_and_margin
from workers.training.retrieval.data import Judged

SHARES_OF_VECTORS = np.linspace(0, 1, 11)
SHARES_OF_WHOLE = np.linspace(0, 1, 5)
DEPTHS = (1, 5, 10)
TEMPERATURES = np.geomspace(0.01, 0.3, 12)
CELLS_AT_ONCE = 4_000_000
WATCHED_CELLS = 5_000_000  # compared after each epoch
TUNED_QUESTIONS, FEWEST_WATCHED = 1_000, 50
MIDDLE = Mixture(0.5, 0.5)
CERTAINTY_STRENGTH = 10.0  # inverse of the regularisation, of features with a deviation of 1
THRESHOLDS = np.linspace(0.02, 0.98, 49)
WITHOUT_ANSWER = -1.0
UNANSWERABLE = 0.2  # the share of questions that no answer is there for, once people ask
WEIGHT_WITHOUT = UNANSWERABLE / (1 - UNANSWERABLE)

Scorer = Callable[[Sequence[str]], np.ndarray]  # questions to [questions, answers]


def parts(judged: Judged, columns: int) -> Iterator[tuple[slice, Judged]]:
    """So many questions at once as fit into memory beside all that they are compared with."""
    step = max(1, CELLS_AT_ONCE // max(1, columns))
    for start in range(0, len(judged), step):
        part = slice(start, start + step)
        yield part, Judged(judged.texts[part], judged.truths[part])


def ranks_of(scores: np.ndarray, truths: Sequence[np.ndarray]) -> np.ndarray:
    """int64 [questions]: the place of the first right answer, from 1 on; of equal scores the right one comes last."""
    best = np.array([row[right].max() for row, right in zip(scores, truths, strict=True)])
    is_before = scores >= best[:, None]
    for row, right in zip(is_before, truths, strict=True):
        row[right] = False
    return 1 + is_before.sum(axis=1)


def figures_of(ranks: np.ndarray) -> dict[str, float]:
    """Recall at 1, 5 and 10, the share of questions a right answer to which is among so many; and the mean reciprocal
    rank."""
    recalls = {f"recall_at_{depth}": float((ranks <= depth).mean()) for depth in DEPTHS}
    return recalls | {"mrr": float((1 / ranks).mean())}


def ranks_by(score: Scorer, judged: Judged, answers: int) -> np.ndarray:
    return np.concatenate([ranks_of(score(part.texts), part.truths) for _slice, part in parts(judged, answers)])


# Words alone


def tfidf_scorer(documents: Sequence[str]) -> Scorer:
    """The cosine of TF-IDF vectors."""
    vectors = TfidfVectorizer(analyzer=terms_of, sublinear_tf=True, dtype=np.float32)
    known = vectors.fit_transform(documents).T.tocsr()
    return lambda questions: np.asarray((vectors.transform(questions) @ known).todense())


# Vectors and words


@dataclass(frozen=True)
class Watch:
    """The validation questions that are asked after each epoch."""

    judged: Judged

    @classmethod
    def of(cls, judged: Judged, columns: int) -> Watch:
        most = max(FEWEST_WATCHED, min(TUNED_QUESTIONS, WATCHED_CELLS // max(1, columns)))
        return cls(judged.at(judged.places(most)))

    def look(self, index: AnswerIndex, vectors: np.ndarray) -> dict[str, float]:
        """Figures of the vectors alone, and the log loss of the right answers at the best temperature."""
        whole = np.maximum(vectors @ index.whole.T, 0)
        scores = index.joined(whole, index.nearest(np.maximum(vectors @ index.known.T, 0), whole), MIDDLE.whole)
        losses = [softmax_loss(scores, self.judged.truths, temperature) for temperature in TEMPERATURES]
        return {"loss": min(losses), **figures_of(ranks_of(scores, self.judged.truths))}


def softmax_loss(scores: np.ndarray, truths: Sequence[np.ndarray], temperature: float) -> float:
    """Mean of -ln of the share that the right answers have in a softmax over all."""
    powers = np.exp((scores - scores.max(axis=1, keepdims=True)) / temperature)
    right = np.array([row[own].sum() for row, own in zip(powers, truths, strict=True)])
    return float(-np.log(np.maximum(right / powers.sum(axis=1), 1e-12)).mean())


def choose_mixture(index: AnswerIndex, judged: Judged, vectors: np.ndarray) -> Mixture:
    """The one with the highest mean reciprocal rank on these questions, and of equal ones that in the middle."""
    choices = [Mixture(round(float(m), 2), float(w)) for m in SHARES_OF_VECTORS for w in SHARES_OF_WHOLE]
    found = dict.fromkeys(choices, 0.0)
    for part, asked in parts(judged, len(index.whole) + len(index.known)):
        compared = index.compare(asked.texts, vectors[part])
        for mixture in choices:
            found[mixture] += float((1 / ranks_of(index.scores(compared, mixture), asked.truths)).sum())
    return max(choices, key=lambda mixture: (round(found[mixture], 9), -_from_middle(mixture)))


def _from_middle(mixture: Mixture) -> float:
    return math.hypot(mixture.vectors - MIDDLE.vectors, mixture.whole - MIDDLE.whole)


@dataclass(frozen=True)
class Found:
    """What the index said to held-out questions: `first` the answers, with their scores and margins; and the same
    (`other_scores`, `other_margins`) where the right answers are taken out, so that the questions have none."""

    ranks: np.ndarray
    first: np.ndarray
    scores: np.ndarray
    margins: np.ndarray
    other_scores: np.ndarray
    other_margins: np.ndarray

    @property
    def is_right(self) -> np.ndarray:
        return self.ranks == 1


def ask_all(index: AnswerIndex, mixture: Mixture, judged: Judged, vectors: np.ndarray) -> Found:
    found = []
    for part, asked in parts(judged, len(index.whole) + len(index.known)):
        compared: Compared = index.compare(asked.texts, vectors[part])
        scores = index.scores(compared, mixture)
        ranks, first, own = ranks_of(scores, asked.truths), scores.argmax(axis=1), best_and_margin(scores)
        for row, right in zip(scores, asked.truths, strict=True):
            row[right] = WITHOUT_ANSWER
        found.append((ranks, first, *own, *best_and_margin(scores)))
    return Found(*(np.concatenate(columns) for columns in zip(*found, strict=True)))


def fit_certainty(found: Found) -> Certainty:
    """Fitted by logistic regression to the questions as they are and, with the weight of `UNANSWERABLE`, without their
    answers, of which none is right; the threshold is where most that is answered is right, and most else is not
    answered."""
    features = np.stack(
        [np.append(found.scores, found.other_scores), np.append(found.margins, found.other_margins)], axis=1
    )
    is_right = np.append(found.is_right, np.zeros(len(found.ranks), dtype=bool))
    if not is_right.any():
        return Certainty(0.0, 0.0, -math.log(99), 0.5)
    middle, spread = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-6)
    weights = np.repeat([1.0, WEIGHT_WITHOUT], len(found.ranks))
    model = LogisticRegression(C=CERTAINTY_STRENGTH).fit((features - middle) / spread, is_right, sample_weight=weights)
    score, margin = model.coef_[0] / spread
    bias = float(model.intercept_[0] - model.coef_[0] @ (middle / spread))
    draft = Certainty(float(score), float(margin), bias, 0.5)
    return Certainty(draft.score, draft.margin, draft.bias, _best_threshold(draft, found))


def _best_threshold(certainty: Certainty, found: Found) -> float:
    own, other = sure_of(certainty, found)
    worth = [float(((own >= bar) == found.is_right).sum() + WEIGHT_WITHOUT * (other < bar).sum()) for bar in THRESHOLDS]
    best = np.flatnonzero(np.array(worth) == max(worth))
    return float(round(THRESHOLDS[best[len(best) // 2]], 2))


def sure_of(certainty: Certainty, found: Found) -> tuple[np.ndarray, np.ndarray]:
    """How sure the model is of its answers, and of those it gives where the right ones are taken out."""
    return (
        certainty.of_best(found.scores, found.margins),
        certainty.of_best(found.other_scores, found.other_margins),
    )  # fmt: skip


def knowing_figures(certainty: Certainty, found: Found) -> dict[str, float]:
    """`answered`: the share of questions to which it says that it knows; `right_when_answered`, of these; and
    `refused_without_answer`, the share of those without an answer to which it says that it does not know."""
    own, other = sure_of(certainty, found)
    is_answered = own >= certainty.threshold
    told = {
        "answered": float(is_answered.mean()),
        "refused_without_answer": float((other < certainty.threshold).mean()),
    }
    if is_answered.any():
        told["right_when_answered"] = float(found.is_right[is_answered].mean())
    return told
