"""From questions to answers: read what the client sent, predict, and put the outcome into words and a status."""

from __future__ import annotations

import base64
import binascii
import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any

import numpy as np

from workers.contract import ProgramFailure
from workers.inference.framing import FILES, JSON, PING, RAW, SAMPLE, TENSORS, Frame, Question
from workers.inference.outcomes import class_outcome, table_outcome
from workers.inference.predictor import ImagePredictor, Predictor, TablePredictor, TextPredictor
from workers.inference.tensor_answers import MAX_IMAGES, MAX_ROWS, MAX_TEXTS, answer_tensors
from workers.texts import read_text

STATUS_OF_CODE = {
    "empty_body": 400,
    "invalid_json": 400,
    "invalid_request": 400,
    "image_too_large": 413,
    "too_many_images": 413,
    "too_many_rows": 413,
    "too_many_texts": 413,
    "wrong_content_type": 415,
}
USUAL_STATUS = 422


def answer(predictor: Predictor, questions: Sequence[Question]) -> list[Frame]:
    """One answer per question, in order. A question that cannot be answered gets its error and harms no other."""
    plain = iter(_answer_plain(predictor, [question for question in questions if question.content != TENSORS]))
    return [
        _guarded(answer_tensors, predictor, question) if question.content == TENSORS else next(plain)
        for question in questions
    ]


def _answer_plain(predictor: Predictor, questions: Sequence[Question]) -> list[Frame]:
    if isinstance(predictor, ImagePredictor):
        return _answer_images(predictor, questions)
    if isinstance(predictor, TextPredictor):
        return [_guarded(_answer_text, predictor, question) for question in questions]
    return _answer_tables(predictor, questions)


def refusal(failure: ProgramFailure, status: int | None = None) -> Frame:
    """The answer for a question that cannot be answered."""
    status = status or STATUS_OF_CODE.get(failure.code, USUAL_STATUS)
    return Frame({"status": status, "seconds": 0.0}, json.dumps(error_of(failure)).encode())


def error_of(failure: ProgramFailure) -> dict[str, Any]:
    """{"error": {"code", "message", "field"}}"""
    error = {"code": failure.code, "message": f"{failure.message} {failure.hint}".strip()}
    return {"error": error | {"field": failure.field} if failure.field else error}


def _guarded(predict: Any, predictor: Predictor, question: Question) -> Frame:
    try:
        return predict(predictor, question)
    except ProgramFailure as failure:
        return refusal(failure)
    except Exception:  # one odd input must not end the process that serves everybody else
        traceback.print_exc(file=sys.stderr)
        message = "The model could not answer this input. The reason stands in the replica's log."
        return refusal(ProgramFailure("prediction_failed", message, blame="machine"), 500)


def _success(payload: dict[str, Any], started: float) -> Frame:
    return Frame({"status": 200, "seconds": time.perf_counter() - started}, json.dumps(payload).encode())


# Images


def _answer_images(predictor: ImagePredictor, questions: Sequence[Question]) -> list[Frame]:
    """Questions that wait together run as one batch."""
    started = time.perf_counter()
    decoded = [_guarded(_decode, predictor, question) for question in questions]
    asked = [item for item in decoded if isinstance(item, Pictures)]
    if not asked:
        return decoded
    try:
        found = iter(predictor.run_many([image for item in asked for image in item.images]))
    except Exception:  # the batch fell: each alone, so that one input cannot spoil the others
        return [_guarded(_run_alone, predictor, item) if isinstance(item, Pictures) else item for item in decoded]
    return [_picture_frame(predictor, item, found, started) if isinstance(item, Pictures) else item for item in decoded]


@dataclass(frozen=True)
class Pictures:
    """The decoded pictures of a question; `slots` has an error for each that could not be, None for the others."""

    question: Question
    images: list[np.ndarray]
    slots: list[dict[str, Any] | None]
    is_single: bool


def _decode(predictor: ImagePredictor, question: Question) -> Pictures | Frame:
    """Raises ProgramFailure, for several pictures unless each may have an error of its own."""
    if question.content == PING:
        return Frame({"status": 200, "seconds": 0.0}, b"{}")
    bodies, is_single = image_bodies(predictor, question)
    images, slots = [], []
    for number, read in enumerate(bodies):
        try:
            images.append(predictor.decode(read()))
            slots.append(None)
        except ProgramFailure as failure:
            if not question.options.get("each"):
                raise (failure if is_single else _of_several(failure, number)) from failure
            slots.append(error_of(failure))
    return Pictures(question, images, slots, is_single)


def _picture_frame(predictor: ImagePredictor, item: Pictures, found: Iterator[np.ndarray], started: float) -> Frame:
    top_k = item.question.top_k
    outcomes = [slot or class_outcome(predictor.classes, next(found), top_k) for slot in item.slots]
    return _success(outcomes[0] if item.is_single else {"predictions": outcomes}, started)


def _run_alone(predictor: ImagePredictor, item: Pictures) -> Frame:
    started = time.perf_counter()
    return _picture_frame(predictor, item, iter(predictor.run_many(item.images)), started)


def image_bodies(predictor: ImagePredictor, question: Question) -> tuple[list[Callable[[], bytes]], bool]:
    """What gives each image file in a question, and whether it asks for one outcome only. Raises ProgramFailure."""
    if question.content == SAMPLE:
        return [lambda: predictor.sample], True
    if question.content == RAW:
        return [lambda: question.body], True
    if question.content == FILES:
        ends = list(accumulate(question.options["sizes"]))
        check_count(len(ends), MAX_IMAGES, "images")
        return [partial(_cut, question.body, start, end) for start, end in zip([0, *ends], ends, strict=False)], False
    asked = read_object(question.body, '{"image": "<base64>"}')
    if "images" in asked:
        texts = asked["images"]
        if not isinstance(texts, list) or not texts:
            raise ProgramFailure("invalid_request", 'Under "images" stands no list of texts.', field="images")
        check_count(len(texts), MAX_IMAGES, "images")
        return [partial(_from_base64, text) for text in texts], False
    return [partial(_from_base64, asked.get("image"))], True


def _cut(body: bytes, start: int, end: int) -> bytes:
    return body[start:end]


def _from_base64(text: Any) -> bytes:
    """Raises ProgramFailure."""
    if not isinstance(text, str):
        raise ProgramFailure(
            "invalid_request",
            'The JSON has no text under "image".',
            hint='Send {"image": "<base64 of an image file>"}, {"images": [...]} for several, or the file as the body.',
            field="image",
        )
    try:
        return base64.b64decode(text.partition("base64,")[2] or text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ProgramFailure("invalid_base64", 'The text under "image" is not base64.', field="image") from error


def check_count(count: int, most: int, noun: str) -> None:
    """Raises ProgramFailure for more items than one request may have."""
    if count > most:
        message = f"{count:,} {noun} are too many for one request; at most {most:,} are answered."
        raise ProgramFailure(f"too_many_{noun}", message, hint="Send them in parts.", field=noun)


def _of_several(failure: ProgramFailure, number: int) -> ProgramFailure:
    message = f"Image {number + 1}: {failure.message}"
    return ProgramFailure(failure.code, message, hint=failure.hint, field=f"images[{number}]")


# Tables


def _answer_tables(predictor: TablePredictor, questions: Sequence[Question]) -> list[Frame]:
    """Those with one row each, that wait together, run as one batch; one that cannot be answered is asked alone."""
    if len(questions) > 1 and all(question.content == JSON for question in questions):
        started = time.perf_counter()
        with suppress(Exception):  # then each alone, so that one input cannot spoil the others
            asked = [table_rows(predictor, question) for question in questions]
            if all(is_single for _rows, is_single in asked):
                outputs = predictor.predict_rows([rows[0] for rows, _is_single in asked])
                return [
                    _success(table_outcome(predictor.classes, output, question.top_k), started)
                    for output, question in zip(outputs, questions, strict=True)
                ]
    return [_guarded(_answer_table, predictor, question) for question in questions]


def _answer_table(predictor: TablePredictor, question: Question) -> Frame:
    started = time.perf_counter()
    if question.content == PING:
        return Frame({"status": 200, "seconds": 0.0}, b"{}")
    rows, is_single = table_rows(predictor, question)
    if question.options.get("each"):
        outcomes = _each(rows, lambda part: _row_outcomes(predictor, question, part))
        return _success({"predictions": outcomes}, started)
    outcomes = _row_outcomes(predictor, question, rows)
    return _success(outcomes[0] if is_single else {"predictions": outcomes}, started)


def _row_outcomes(predictor: TablePredictor, question: Question, rows: Sequence[Any]) -> list[dict[str, Any]]:
    return [table_outcome(predictor.classes, output, question.top_k) for output in predictor.predict_rows(rows)]


def table_rows(predictor: TablePredictor, question: Question) -> tuple[list[dict[str, Any]], bool]:
    """The rows in a question, and whether it asks for one outcome only. Raises ProgramFailure."""
    if question.content == SAMPLE:
        return [predictor.sample], True
    asked = read_object(question.body, '{"row": {...}} or {"rows": [...]}')
    if isinstance(asked.get("row"), dict):
        return [asked["row"]], True
    rows = asked.get("rows")
    if not isinstance(rows, list) or not rows:
        message = 'The JSON has neither an object under "row" nor a list under "rows".'
        hint = 'Send {"row": {"column": value, ...}}, or {"rows": [...]} for several.'
        raise ProgramFailure("invalid_request", message, hint=hint, field="row")
    if len(rows) > MAX_ROWS:
        message = f"{len(rows):,} rows are too many for one request; at most {MAX_ROWS:,} are answered."
        raise ProgramFailure("too_many_rows", message, hint="Send them in parts.", field="rows")
    return rows, False


# Texts


def _answer_text(predictor: TextPredictor, question: Question) -> Frame:
    started = time.perf_counter()
    if question.content == PING:
        return Frame({"status": 200, "seconds": 0.0}, b"{}")
    if question.options.get("each"):
        texts = read_object(question.body, '{"texts": [...]}')["texts"]
        outcomes = _each(
            texts, lambda part: _text_outcomes(predictor, question, [read_text(item) for item in part]), "Text"
        )
        return _success({"predictions": outcomes}, started)
    texts, is_single = asked_texts(predictor, question)
    outcomes = _text_outcomes(predictor, question, texts)
    return _success(outcomes[0] if is_single else {"predictions": outcomes}, started)


def _text_outcomes(predictor: TextPredictor, question: Question, texts: Sequence[str]) -> list[dict[str, Any]]:
    found = predictor.predict_texts(texts)
    return [class_outcome(predictor.classes, probabilities, question.top_k) for probabilities in found]


def asked_texts(predictor: TextPredictor, question: Question) -> tuple[list[str], bool]:
    """The texts in a question, and whether it asks for one outcome only. Raises ProgramFailure."""
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


def decode_text(body: bytes) -> str:
    """Raises ProgramFailure (empty_body, wrong_encoding)."""
    if not body.strip():
        raise ProgramFailure("empty_body", "The request has no body.", hint="Send the text, in UTF-8.")
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"The body is not UTF-8: byte {error.start + 1} cannot be read."
        raise ProgramFailure("wrong_encoding", message, hint="Send the text in UTF-8.") from error


# All


def _each(items: Sequence[Any], answer_of: Callable[[Sequence[Any]], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """An outcome for each item, or its error: all at once, and one by one where that cannot be."""
    try:
        return answer_of(items)
    except ProgramFailure:
        return [_one_of(item, answer_of) for item in items]


def _one_of(item: Any, answer_of: Callable[[Sequence[Any]], list[dict[str, Any]]]) -> dict[str, Any]:
    try:
        return answer_of([item])[0]
    except ProgramFailure as failure:
        return error_of(failure)


def read_object(body: bytes, form: str) -> dict[str, Any]:
    """The JSON object in `body`. Raises ProgramFailure."""
    if not body.strip():
        raise ProgramFailure("empty_body", "The request has no body.", hint=f"Send {form}.")
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ProgramFailure("invalid_json", f"The body is not JSON: {error}.", hint=f"Send {form}.") from error
    if not isinstance(value, dict):
        raise ProgramFailure("invalid_request", "The JSON is not an object.", hint=f"Send {form}.")
    return value
