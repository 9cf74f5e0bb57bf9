"""From what a network says of each frame to a text: connectionist temporal classification (Graves et al. 2006).

numpy only. A path says one character or the blank in each frame; the text of a path is what is left when repeated
characters are made one and blanks are dropped. The probability of a text is the sum over all its paths. `logs` are
log-probabilities [T, V] of T frames; character 0 is the blank, and a text is a sequence of others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workers.inference.characters import EDGE, ORDER, Characters

BLANK = 0
STEP = 2  # frames of the spectrogram, 0.01 s each, for each that a network answers: a character takes several
IMPOSSIBLE = -1e30
LEAST = math.log(1e-3)  # a character that is less probable in a frame begins nothing in it
MOST_LETTERS = 16  # begin something in a frame: noise may make all of an alphabet a little probable


@dataclass(frozen=True)
class Decoding:
    """How a text is searched for: `beams` beginnings are kept at each frame, 1 is greedy. A language model counts by
    `weight`, and each character by `bonus`: ln p(text | recording) + weight * ln p(text) + bonus * characters."""

    beams: int = 1
    weight: float = 0.0
    bonus: float = 0.0


@dataclass
class _Beam:
    """One beginning of a text. Log-probabilities of all its paths so far that end in the `blank` and in its last
    `letter`; `extra` is what the language model and the bonus add."""

    blank: float = IMPOSSIBLE
    letter: float = IMPOSSIBLE
    extra: float = 0.0

    @property
    def total(self) -> float:
        return _add(self.blank, self.letter)


def _add(one: float, other: float) -> float:
    """ln(e^one + e^other)"""
    high, low = (one, other) if one > other else (other, one)
    return high if low <= IMPOSSIBLE else high + math.log1p(math.exp(low - high))


def greedy(logs: np.ndarray) -> tuple[int, ...]:
    """The text of the most probable path."""
    path = logs.argmax(axis=1)
    is_new = np.diff(path, prepend=BLANK) != 0
    return tuple(path[is_new & (path != BLANK)].tolist())


def search(
    logs: np.ndarray, decoding: Decoding, alphabet: Sequence[str], language: Characters | None = None
) -> tuple[int, ...]:
    """The text with the highest score that is found, by prefix beam search (Hannun et al. 2014, "First-Pass Large
    Vocabulary Continuous Speech Recognition using Bi-Directional Recurrent DNNs", algorithm 1). `alphabet` names the
    characters from 1 on."""
    if decoding.beams == 1:
        return greedy(logs)
    judge = _Judge(decoding, alphabet, language)
    beams = {(): _Beam(blank=0.0)}
    for frame in logs:
        beams = _advance(beams, frame, judge)
    return max(beams, key=lambda text: beams[text].total + beams[text].extra + judge.at_end(text))


class _Judge:
    """What is added to a text's score beside what was heard."""

    def __init__(self, decoding: Decoding, alphabet: Sequence[str], language: Characters | None) -> None:
        self.decoding, self.alphabet = decoding, alphabet
        self.language = language if decoding.weight else None

    def of(self, text: tuple[int, ...], letter: int) -> float:
        """For `letter` after `text`."""
        return self.decoding.bonus + self._weighed(text, self.alphabet[letter - 1])

    def at_end(self, text: tuple[int, ...]) -> float:
        return self._weighed(text, EDGE)

    def _weighed(self, text: tuple[int, ...], letter: str) -> float:
        if self.language is None:
            return 0.0
        written = "".join(self.alphabet[place - 1] for place in text[1 - ORDER :])  # it looks no further back
        return self.decoding.weight * self.language.log_probability(written, letter)


def _advance(beams: dict[tuple[int, ...], _Beam], frame: np.ndarray, judge: _Judge) -> dict[tuple[int, ...], _Beam]:
    """The beginnings after one more frame, best first."""
    likely = np.flatnonzero(frame[1:] > LEAST) + 1
    if len(likely) > MOST_LETTERS:
        likely = np.sort(likely[np.argsort(-frame[likely], kind="stable")[:MOST_LETTERS]])
    letters = [(letter, float(frame[letter])) for letter in likely.tolist()]
    blank, grown = float(frame[BLANK]), {}
    for text, beam in beams.items():
        total, last = beam.total, text[-1] if text else BLANK
        same = grown.setdefault(text, _Beam(extra=beam.extra))
        same.blank = _add(same.blank, total + blank)
        if text:
            same.letter = _add(same.letter, beam.letter + float(frame[last]))
        for letter, log in letters:
            longer = grown.get((*text, letter))
            if longer is None:
                longer = grown[(*text, letter)] = _Beam(extra=beam.extra + judge.of(text, letter))
            # After itself a character is written again only where a blank lies between.
            longer.letter = _add(longer.letter, log + (beam.blank if letter == last else total))
    best = sorted(grown, key=lambda text: -(grown[text].total + grown[text].extra))
    return {text: grown[text] for text in best[: judge.decoding.beams]}


def log_probability(logs: np.ndarray, text: Sequence[int]) -> float:
    """ln p(text): the sum over all its paths, by the forward algorithm (Graves et al. 2006, section 4.1)."""
    said, may_skip = _states(text)
    reached = np.full(len(said), IMPOSSIBLE)
    reached[:2] = logs[0, said[:2]]
    for frame in logs[1:]:
        one, two = _shifted(reached, may_skip)
        reached = np.logaddexp(np.logaddexp(reached, one), two) + frame[said]
    return float(np.logaddexp.reduce(reached[-2:]))


def align(logs: np.ndarray, text: Sequence[int]) -> list[tuple[int, int]]:
    """(first, last) frame of each character on the most probable path of `text`, which has one."""
    said, may_skip = _states(text)
    reached = np.full(len(said), IMPOSSIBLE)
    reached[:2] = logs[0, said[:2]]
    steps = []
    for frame in logs[1:]:
        choices = np.stack([reached, *_shifted(reached, may_skip)])
        steps.append(choices.argmax(axis=0))
        reached = choices.max(axis=0) + frame[said]
    place = len(said) - 1 if len(said) == 1 or reached[-1] >= reached[-2] else len(said) - 2
    path = [place]
    for step in reversed(steps):
        place -= int(step[place])
        path.append(place)
    states = np.array(path[::-1])
    frames = [np.flatnonzero(states == 2 * number + 1) for number in range(len(text))]
    return [(int(found[0]), int(found[-1])) for found in frames]


def _states(text: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """The characters with a blank before, between and behind them [2 L + 1], and which of these may follow the last
    but one: a character that is not the one before it."""
    said = np.full(2 * len(text) + 1, BLANK)
    said[1::2] = text
    may_skip = np.zeros(len(said), dtype=bool)
    may_skip[3::2] = said[3::2] != said[1:-2:2]
    return said, may_skip


def _shifted(reached: np.ndarray, may_skip: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is reached from one state before, and from two before where that may be."""
    one = np.concatenate([[IMPOSSIBLE], reached[:-1]])
    two = np.where(may_skip, np.concatenate([[IMPOSSIBLE] * 2, reached])[: len(reached)], IMPOSSIBLE)
    return one, two
