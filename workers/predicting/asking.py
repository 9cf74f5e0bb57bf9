"""Ask a model about many items by the very code that answers requests, so that a file and a request cannot differ."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from workers.inference.answers import answer
from workers.inference.framing import JSON, RAW, Frame, Question
from workers.inference.predictor import Predictor

Body = bytes | str | dict[str, Any]
Answered = dict[str, Any]
ERROR = "error"


def ask(predictor: Predictor, bodies: Sequence[Body], top_k: int | None) -> list[Answered]:
    """What the model answers to each of `bodies`: files as bytes, texts, or rows, all of one kind.

    One that cannot be answered gets {"error": {"code", "message"}} and harms no other.
    """
    if not bodies:
        return []
    if isinstance(bodies[0], bytes):
        frames = answer(predictor, [Question(RAW, body, top_k) for body in bodies])
        return [_read(frame) for frame in frames]
    return _ask_together(predictor, "texts" if isinstance(bodies[0], str) else "rows", bodies, top_k)


def _ask_together(predictor: Predictor, key: str, bodies: Sequence[Body], top_k: int | None) -> list[Answered]:
    """One question for all; where one of them spoils it, each half is asked again."""
    question = Question(JSON, json.dumps({key: bodies}).encode(), top_k)
    answered = _read(answer(predictor, [question])[0])
    if ERROR not in answered:
        return answered["predictions"]
    if len(bodies) == 1:
        return [{ERROR: _about_one(answered[ERROR])}]
    middle = len(bodies) // 2
    halves = (bodies[:middle], bodies[middle:])
    return [one for half in halves for one in _ask_together(predictor, key, half, top_k)]


def _read(frame: Frame) -> Answered:
    found = json.loads(frame.body)
    return {ERROR: {name: found[ERROR][name] for name in ("code", "message")}} if ERROR in found else found


def _about_one(error: dict[str, str]) -> dict[str, str]:
    """Where a question has one row, its number in the question says nothing."""
    message = error["message"].replace("Row 1 ", "This row ", 1).replace(" row 1 ", " this row ", 1)
    return {**error, "message": message}
