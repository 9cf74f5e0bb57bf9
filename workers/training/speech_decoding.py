"""Which way to search for a text is best, tried on the validation recordings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from workers.inference.characters import Characters
from workers.inference.ctc import Decoding, search
from workers.training.speech_figures import error_rates

TRIED = 300  # recordings at most
WEIGHTS, BONUSES = (0.2, 0.4, 0.7, 1.0), (0.0, 0.7, 1.5)
GREEDY, BEAMS, LANGUAGE = "greedy", "beams", "language_model"


@dataclass(frozen=True)
class Tried:
    """One way to search, and how good it is on the validation recordings."""

    name: str
    decoding: Decoding
    figures: dict[str, float]

    @property
    def errors(self) -> tuple[float, float]:
        return self.figures["wer"], self.figures["cer"]


def try_decodings(
    logs: Sequence[np.ndarray], references: Sequence[str], alphabet: Sequence[str], language: Characters | None,
    beams: int, progress: Callable[[float], None],
) -> list[Tried]:  # fmt: skip
    """The ways that there are, the simplest first: greedy; with `beams`; and, where there is a `language` model, with
    the weight of it that does best. `progress` is told the share that is done."""
    step = -(-len(logs) // TRIED)
    logs, references = logs[::step], references[::step]
    ways = [(GREEDY, Decoding())]
    if beams > 1:
        ways.append((BEAMS, Decoding(beams)))
    if beams > 1 and language:
        ways += [(LANGUAGE, Decoding(beams, weight, bonus)) for weight in WEIGHTS for bonus in BONUSES]
    best: dict[str, Tried] = {}
    for number, (name, decoding) in enumerate(ways):
        progress(number / len(ways))
        said = [written(search(each, decoding, alphabet, language), alphabet) for each in logs]
        tried = Tried(name, decoding, error_rates(said, references))
        if name not in best or tried.errors < best[name].errors:
            best[name] = tried
    return list(best.values())


def choose_decoding(tried: Sequence[Tried]) -> Tried:
    """The one with the fewest wrong words, then characters; of equal ones the simplest."""
    return min(tried, key=lambda each: each.errors)


def written(text: Sequence[int], alphabet: Sequence[str]) -> str:
    """Characters as a text, without blanks around it."""
    return " ".join("".join(alphabet[place - 1] for place in text).split())


def describe(tried: Sequence[Tried], kept: Tried) -> list[dict[str, Any]]:
    """For people: [{"name", "wer", "cer", "is_kept"}]."""
    return [
        {"name": each.name, "wer": each.figures["wer"], "cer": each.figures["cer"], "is_kept": each is kept}
        for each in tried
    ]
