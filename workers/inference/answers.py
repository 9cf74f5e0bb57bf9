"""From questions to answers: read what the client sent, predict, and put the outcome into words and a status."""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Sequence
from typing import Any

import numpy as np

from workers.contract import ProgramFailure
from workers.domains import AUDIO, IMAGE, TASKS
from workers.inference.explaining import Asking
from workers.inference.framing import PING, TENSORS, Frame, Question
from workers.inference.predictor import Predictor
from workers.inference.tensor_answers import answer_tensors

STATUS_OF_CODE = {
    "empty_body": 400,
    "invalid_json": 400,
    "invalid_request": 400,
    "audio_too_long": 413,
    "image_too_large": 413,
    "too_many_rows": 413,
    "text_too_long": 413,
    "too_many_items": 413,
    "too_many_texts": 413,
    "too_many_users": 413,
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
    if TASKS[predictor.meta["task"]].asks in (AUDIO, IMAGE):
        return _answer_files(predictor, questions)
    return [_guarded(_answer_one, predictor, question) for question in questions]


def explain(predictor: Predictor, question: Question) -> Frame:
    """The answer to one item, with "explanation": what of the item it comes from (workers.inference.explaining)."""
    return _guarded(_explain, predictor, question)


def _explain(predictor: Predictor, question: Question) -> Frame:
    started = time.perf_counter()
    task = TASKS[predictor.meta["task"]]
    if not task.explainer:
        message = "Models of this kind cannot be explained yet."
        raise ProgramFailure("cannot_explain", message, blame="settings")
    items, _is_single = read(predictor, question)
    if len(items) != 1:
        message = f"{len(items):,} items were sent; one is explained at a time."
        raise ProgramFailure("one_at_a_time", message, hint="Send one item.")
    (output,) = predictor.predict(items)
    place = int(np.argmax(output)) if predictor.classes else None
    explanation = task.load("explainer").explain(predictor, items[0], Asking(predictor.predict, place))
    return _success({**predictor.outcome(output, question.top_k), "explanation": explanation}, started)


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


# Images and recordings


def _answer_files(predictor: Predictor, questions: Sequence[Question]) -> list[Frame]:
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
        _success(predictor.outcome(next(probabilities), question.top_k), started)
        if isinstance(item, np.ndarray)
        else item
        for item, question in zip(decoded, questions, strict=True)
    ]


def _decode_one(predictor: Predictor, question: Question) -> Any:
    if question.content == PING:
        return Frame({"status": 200, "seconds": 0.0}, b"{}")
    (item,), _is_single = read(predictor, question)
    return predictor.decode(item)


def _run_one(predictor: Predictor, item: tuple[np.ndarray, Question]) -> Frame:
    started = time.perf_counter()
    image, question = item
    return _success(predictor.outcome(predictor.run(image[None])[0], question.top_k), started)


# All


def _answer_one(predictor: Predictor, question: Question) -> Frame:
    started = time.perf_counter()
    if question.content == PING:
        return Frame({"status": 200, "seconds": 0.0}, b"{}")
    items, is_single = read(predictor, question)
    outcomes = [predictor.outcome(output, question.top_k) for output in predictor.predict(items)]
    return _success(outcomes[0] if is_single else {"predictions": outcomes}, started)


def read(predictor: Predictor, question: Question) -> tuple[Sequence[Any], bool]:
    """The items in a question, and whether it asks for one outcome only. Raises ProgramFailure."""
    return TASKS[predictor.meta["task"]].load("questions").read(predictor, question)
