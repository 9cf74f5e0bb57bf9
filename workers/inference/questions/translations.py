"""Texts to translate: sent as all texts are, and in JSON with ``"beam_size"`` where it is to differ from the model's
own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workers.contract import ProgramFailure
from workers.inference.framing import JSON, SAMPLE, Question
from workers.inference.questions import texts
from workers.inference.questions.columns import as_texts, only
from workers.inference.questions.json_body import read_object
from workers.inference.tensors import Request
from workers.inference.translations import Asked, Translation
from workers.texts import read_text

if TYPE_CHECKING:
    from workers.inference.translation_predictor import TranslationPredictor

MAX_TEXTS = 100
MAX_CHARACTERS = 20_000  # in all texts of a question: some seconds
MAX_BEAMS = 10
FORM = '{"text": "...", "beam_size": 4}'


def read(predictor: TranslationPredictor, question: Question) -> tuple[list[Asked], bool]:
    if question.content == SAMPLE:
        return [predictor.sample], True
    found, is_single = texts.read(predictor, question)
    beams = _beams(read_object(question.body, FORM).get("beam_size")) if question.content == JSON else None
    return _checked(found, beams), is_single


def _checked(found: list[str], beams: int | None = None) -> list[Asked]:
    """Raises ProgramFailure (too_many_texts, text_too_long)."""
    if len(found) > MAX_TEXTS:
        message = f"{len(found):,} texts are too many for one request; at most {MAX_TEXTS:,} are translated."
        raise ProgramFailure("too_many_texts", message, hint="Send them in parts.", field="texts")
    if (characters := sum(map(len, found))) > MAX_CHARACTERS:
        message = f"{characters:,} characters are too many for one request; at most {MAX_CHARACTERS:,} are translated."
        raise ProgramFailure("text_too_long", message, hint="Send the text in parts.", field="text")
    return [Asked(text, beams) for text in found]


def _beams(value: Any) -> int | None:
    """Raises ProgramFailure (wrong_type, out_of_range)."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        message = f"beam_size is {repr(value)[:40]}; it must be a whole number."
        raise ProgramFailure("wrong_type", message, hint=f"Send {FORM}.", field="beam_size")
    if not 1 <= value <= MAX_BEAMS:
        message = f"beam_size is {value}; it must lie between 1 and {MAX_BEAMS}."
        raise ProgramFailure("out_of_range", message, field="beam_size")
    return value


def predict_tensors(predictor: TranslationPredictor, request: Request) -> list[Translation]:
    return predictor.predict(_checked([read_text(text) for text in as_texts(only(request), texts.MAX_TEXTS)]))


def describe(facts: dict[str, Any]) -> list[dict[str, Any]]:
    return texts.describe(facts)
