"""What a model that translates is asked, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Asked:
    """A text to translate; `beams` are tried side by side, None is as many as the model was made for."""

    text: str
    beams: int | None = None


@dataclass(frozen=True)
class Translation:
    """`score` is the geometric mean of the probabilities of what was written: how sure the model was, from 0 to 1."""

    text: str
    score: float

    def __float__(self) -> float:
        """As a number, by which two machines are compared, it is its score."""
        return self.score
