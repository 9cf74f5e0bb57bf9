"""Beam search: the most probable continuation that a model finds when it keeps several at each step. numpy only.

Sentences are searched together, and each gets what it would get alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from workers.subwords import BEGIN, END, PADDING

IMPOSSIBLE = -1e30


class Decoding(Protocol):
    """What is known of the rows that are being written; the model's side of a search."""

    def step(self, tokens: np.ndarray) -> np.ndarray:
        """Append one token [M] to each row; returns the log-probabilities float32 [M, V] of what comes next."""

    def keep(self, rows: np.ndarray) -> None:
        """Go on with these rows, in this order; a row may be named several times."""


@dataclass(frozen=True)
class Search:
    """`beams` are kept at each step; 1 is greedy. `penalty` is the alpha of the length penalty: 0 favours short
    outputs, 1 the highest mean log-probability. `end` ends an output, and `never` are the tokens that stand in none."""

    beams: int = 4
    penalty: float = 0.6
    end: int = END
    never: tuple[int, ...] = (PADDING, BEGIN)


@dataclass(frozen=True)
class Found:
    """The tokens without begin and end, and the log-probability of all of them, the end included."""

    tokens: tuple[int, ...]
    log_probability: float

    @property
    def score(self) -> float:
        """The geometric mean of the tokens' probabilities: how sure the model was of each, in (0, 1]."""
        return math.exp(self.log_probability / (len(self.tokens) + 1))


@dataclass
class _Sentence:
    """One sentence's search. `rows` are its beams [K, t], `sums` their log-probabilities [K], best first."""

    number: int
    limit: int
    rows: list[tuple[int, ...]] = field(default_factory=lambda: [()])
    sums: list[float] = field(default_factory=lambda: [0.0])
    ended: list[tuple[float, Found]] = field(default_factory=list)


def length_penalty(length: int, alpha: float) -> float:
    """((5 + length) / 6) ** alpha, by which log-probabilities are divided (Wu et al. 2016, "Google's Neural Machine
    Translation System", equation 14)."""
    return ((5 + length) / 6) ** alpha


def search(decoding: Decoding, limits: Sequence[int], settings: Search) -> list[Found]:
    """The best that is found for each sentence, whose outputs have at most so many tokens. `decoding` has one row for
    each sentence, with nothing written yet. A search ends when as many outputs have ended as there are beams, and all
    of these are better than what goes on is so far."""
    sentences = [_Sentence(number, limit) for number, limit in enumerate(limits)]
    found: list[Found | None] = [None] * len(sentences)
    tokens = np.full(len(sentences), BEGIN, dtype=np.int64)
    while sentences:
        scores = decoding.step(tokens)
        scores[:, list(settings.never)] = IMPOSSIBLE
        kept, first = [], 0
        for sentence in sentences:
            count = len(sentence.rows)
            parents = _advance(sentence, scores[first : first + count], settings)
            if _is_over(sentence, settings):
                found[sentence.number] = _best(sentence, settings)
            else:
                kept.append((sentence, [first + parent for parent in parents]))
            first += count
        sentences = [sentence for sentence, _rows in kept]
        if sentences:
            decoding.keep(np.array([row for _sentence, rows in kept for row in rows]))
            tokens = np.array([row[-1] for sentence in sentences for row in sentence.rows], dtype=np.int64)
    return found


def _advance(sentence: _Sentence, scores: np.ndarray, settings: Search) -> list[int]:
    """Take in the log-probabilities [K, V] of what follows the beams; returns which beam each new one goes on from.

    Twice as many continuations are looked at as there are beams, so that enough go on even where each beam could end.
    """
    vocabulary = scores.shape[1]
    totals = (np.array(sentence.sums)[:, None] + scores).reshape(-1)
    count = min(2 * settings.beams, len(totals))
    best = np.argpartition(-totals, count - 1)[:count]
    best = best[np.lexsort((best, -totals[best]))]
    rows, sums, parents = [], [], []
    for rank, place in enumerate(best.tolist()):
        parent, token = divmod(place, vocabulary)
        total = float(totals[place])
        if token == settings.end:
            if rank < settings.beams:
                _end(sentence, sentence.rows[parent], total, settings)
        elif len(rows) < settings.beams:
            rows.append((*sentence.rows[parent], token))
            sums.append(total)
            parents.append(parent)
    sentence.rows, sentence.sums = rows, sums
    return parents


def _end(sentence: _Sentence, row: tuple[int, ...], total: float, settings: Search) -> None:
    value = total / length_penalty(len(row) + 1, settings.penalty)
    sentence.ended.append((value, Found(row, total)))


def _is_over(sentence: _Sentence, settings: Search) -> bool:
    """Also where as many have ended as there are beams, and none that goes on is better than these as it stands."""
    written = len(sentence.rows[0])
    if written >= sentence.limit:
        return True
    if len(sentence.ended) < settings.beams:
        return False
    values = sorted((value for value, _found in sentence.ended), reverse=True)
    return values[settings.beams - 1] >= sentence.sums[0] / length_penalty(written, settings.penalty)


def _best(sentence: _Sentence, settings: Search) -> Found:
    """Of those that ended; where none did, the best that was cut off."""
    if not sentence.ended:
        _end(sentence, sentence.rows[0], sentence.sums[0], settings)
    return max(sentence.ended, key=lambda pair: pair[0])[1]
