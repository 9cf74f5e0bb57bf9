"""Texts: plain text, ``{"text": "..."}``, ``{"texts": [...]}``, or one tensor of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from workers.contract import ProgramFailure
from workers.inference.framing import RAW, SAMPLE, Question
from workers.inference.questions.columns import as_texts, only
from workers.inference.questions.json_body import decode_text, read_object
from workers.inference.tensors import Request
from workers.texts import read_text

if TYPE_CHECKING:
    from workers.inference.text_predictor import TextPredictor

MAX_TEXTS = 1_000


def read(predictor: TextPredictor, question: Question) -> tuple[list[str], bool]:
    if question.content == SAMPLE:
        return [predictor.sample], True
    if question.content == RAW:
        return [read_text(decode_text(question.body))], True
    asked = read_object(question.body, '{"text": "..."} or {"texts": [...]}')
    if "text" in asked:
        return [read_text(asked["text"])], True
    texts = asked.get("texts")
    if not isinstance(texts, list) or not texts:
        message = 'The JSON has neither a text under "text" nor a list under "texts".'
        hint = 'Send {"text": "..."}, {"texts": ["...", "..."]} for several, or plain text as the body.'
        raise ProgramFailure("invalid_request", message, hint=hint, field="text")
    if len(texts) > MAX_TEXTS:
        message = f"{len(texts):,} texts are too many for one request; at most {MAX_TEXTS:,} are answered."
        raise ProgramFailure("too_many_texts", message, hint="Send them in parts.", field="texts")
    return [read_text(text) for text in texts], False


def predict_tensors(predictor: TextPredictor, request: Request) -> np.ndarray:
    """float32 [N, classes]"""
    return predictor.predict([read_text(text) for text in as_texts(only(request), MAX_TEXTS)])


def describe(facts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
