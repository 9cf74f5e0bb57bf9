"""From questions to answers: read what the client sent, predict, and put the outcome into words and a status."""

from __future__ import annotations

import base64
import binascii
import json
import sys
import time
import traceback
from collections.abc import Sequence
from typing import Any

import numpy as np

from workers.contract import ProgramFailure
from workers.inference.framing import PING, RAW, SAMPLE, TENSORS, Frame, Question
from workers.inference.outcomes import class_outcome, table_outcome
from workers.inference.predictor import ImagePredictor, Predictor, TablePredictor, TextPredictor
from workers.inference.tensor_answers import MAX_ROWS, MAX_TEXTS, answer_tensors
from workers.texts import read_text

STATUS_OF_CODE = {
    "empty_body": 400,
    "invalid_json": 400,
    "invalid_request": 400,
    "image_too_large": 413,
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
    return [_guarded(_answer_table, predictor, question) for question in questions]


def refusal(failure: ProgramFailure, status: int | None = None) -> Frame:
    """The answer for a question that cannot be answered."""
    error = {"code": failure.code, "message": f"{failure.message} {failure.hint}".strip()}
    if failure.field:
        error["field"] = failure.field
    status = status or STATUS_OF_CODE.get(failure.code, USUAL_STATUS)
    return Frame({"status": status, "seconds": 0.0}, json.dumps({"error": error}).encode())


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
    decoded = [_guarded(_decode_one, predictor, question) for question in questions]
    images = [item for item in decoded if isinstance(item, np.ndarray)]
    if not images:
        return decoded
    try:
        probabilities = iter(predictor.run(np.stack(images)))
    except Exception:  # the batch fell: each alone, so that one input cannot spoil the others
        return [
            _guarded(_run_one, predictor, (item, question)) if isinstance(item, np.ndarray) else item
            for item, question in zip(decoded, questions, strict=True)
        ]
    return [
        _success(class_outcome(predictor.classes, next(probabilities), question.top_k), started)
        if isinstance(item, np.ndarray)
        else item
        for item, question in zip(decoded, questions, strict=True)
    ]


def _decode_one(predictor: ImagePredictor, question: Question) -> Any:
    if question.content == PING:
        return Frame({"status": 200, "seconds": 0.0}, b"{}")
    return predictor.decode(image_bytes(predictor, question))


def _run_one(predictor: ImagePredictor, item: tuple[np.ndarray, Question]) -> Frame:
    started = time.perf_counter()
    image, question = item
    return _success(class_outcome(predictor.classes, predictor.run(image[None])[0], question.top_k), started)


def image_bytes(predictor: ImagePredictor, question: Question) -> bytes:
    """The image file in a question. Raises ProgramFailure."""
    if question.content == SAMPLE:
        return predictor.sample
    if question.content == RAW:
        return question.body
    text = read_object(question.body, '{"image": "<base64>"}').get("image")
    if not isinstance(text, str):
        raise ProgramFailure(
            "invalid_request",
            'The JSON has no text under "image".',
            hint='Send {"image": "<base64 of an image file>"}, or the bytes of the file as the body.',
            field="image",
        )
    try:
        return base64.b64decode(text.partition("base64,")[2] or text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ProgramFailure("invalid_base64", 'The text under "image" is not base64.', field="image") from error


# Tables


def _answer_table(predictor: TablePredictor, question: Question) -> Frame:
    started = time.perf_counter()
    if question.content == PING:
        return Frame({"status": 200, "seconds": 0.0}, b"{}")
    rows, is_single = table_rows(predictor, question)
    outcomes = [table_outcome(predictor.classes, output, question.top_k) for output in predictor.predict_rows(rows)]
    return _success(outcomes[0] if is_single else {"predictions": outcomes}, started)


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
    texts, is_single = asked_texts(predictor, question)
    found = predictor.predict_texts(texts)
    outcomes = [class_outcome(predictor.classes, probabilities, question.top_k) for probabilities in found]
    return _success(outcomes[0] if is_single else {"predictions": outcomes}, started)


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
