"""Texts: what is lost when a word is left out.

The weight of a word is p(class | text) - p(class | text without the word): how much less sure the model is of its
answer (leave-one-out, or erasure: Li, Monroe and Jurafsky, "Understanding Neural Networks through Representation
Erasure", 2016). One question for each word, and none that is drawn by chance. Words that say the same twice each lose
little, so the weights do not add up to the answer. A text of many words is taken in runs of several.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workers.inference.explaining import Asking
from workers.texts import WORD

if TYPE_CHECKING:
    from workers.inference.text_predictor import TextPredictor

MOST_PARTS = 128


def explain(predictor: TextPredictor, item: str, asking: Asking) -> dict[str, Any]:
    """{"method", "tokens"}: the text in pieces {"text", "weight"}, which put together are the text again; what stands
    between words has the weight None."""
    read = item[: predictor.encoder.characters]
    spans = parts_of(read)
    without = [item[:start] + item[end:] for start, end in spans]
    whole, *scores = asking.scores([item, *without])
    weights = [float(whole - score) for score in scores]
    return {"method": "leave_one_out", "tokens": pieces(item, spans, weights)}


def parts_of(text: str) -> list[tuple[int, int]]:
    """Where the words begin and end; runs of words where there are more than `MOST_PARTS`."""
    words = [match.span() for match in WORD.finditer(text)]
    run = -(-len(words) // MOST_PARTS) if words else 1
    runs = [words[start : start + run] for start in range(0, len(words), run)]
    return [(some[0][0], some[-1][1]) for some in runs]


def pieces(text: str, spans: list[tuple[int, int]], weights: list[float]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    done = 0
    for (start, end), weight in zip(spans, weights, strict=True):
        if start > done:
            made.append({"text": text[done:start], "weight": None})
        made.append({"text": text[start:end], "weight": weight})
        done = end
    if done < len(text):
        made.append({"text": text[done:], "weight": None})
    return made
