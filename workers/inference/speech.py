"""What a model that writes down speech answers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Word:
    """`start` and `end` are in seconds from the recording's beginning, to about 0.02 s."""

    text: str
    start: float
    end: float


@dataclass(frozen=True)
class Speech:
    """What was said. `confidence` is the geometric mean, over its characters and its end, of the probability that the
    network gives to the text: how sure the model was, from 0 to 1."""

    text: str
    confidence: float
    words: tuple[Word, ...] = ()

    def __float__(self) -> float:
        """As a number, by which two machines are compared, it is its confidence."""
        return self.confidence
