"""From questions to answers: read what the client sent, predict, and put the outcome into words and a status."""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from workers.contract import ProgramFailure
from workers.domains import AUDIO, IMAGE, TASKS
from workers.inference.deciding import decide
from workers.inference.explaining import Asking
from workers.inference.framing import PING, RAW, TENSORS, Frame, Question
from workers.inference.predictor import Predictor
from workers.inference.questions.several import parts_of
from workers.inference.tensor_answers import answer_tensors

STATUS_OF_CODE = {
    "empty_body": 400,
    "invalid_json": 400,
    "invalid_request": 400,
    "audio_too_long": 413,
    "image_too_large": 413,
    "too_many_images": 413,
    "too_many_recordings": 413,
    "too_many_rows": 413,
    "text_too_long": 413,
    "too_many_items": 413,
    "too_many_texts": 413,
    "too_many_users": 413,
    "wrong_content_type": 415,
}
USUAL_STATUS = 422


def answer(predictor: Predictor, questions: Sequence[Question], at_once: int = 1) -> list[Frame]:
    """One answer per question, in order. A question that cannot be answered gets its error and harms no other.

    At most `at_once` items are computed together (workers.inference.batching).
    """
    if len(questions) == 1 or at_once == 1:
        return [_answer_alone(predictor, question, at_once) for question in questions]
    usual = [question for question in questions if question.content != TENSORS and not question.options.get("each")]
    found = iter(_answer_plain(predictor, usual, at_once))
    return [next(found) if question in usual else _answer_alone(predictor, question, at_once) for question in questions]


def _answer_alone(predictor: Predictor, question: Question, at_once: int) -> Frame:
    if question.content == TENSORS:
        return _guarded(answer_tensors, predictor, question)
    if question.content == RAW and not question.options:  # one item, which nothing is to be gathered for
        return _guarded(_answer_one, predictor, question)
    (found,) = _answer_plain(predictor, [question], at_once)
    return _each(predictor, question, found) if question.options.get("each") else found


def _answer_plain(predictor: Predictor, questions: Sequence[Question], at_once: int) -> list[Frame]:
    if TASKS[predictor.meta["task"]].asks in (AUDIO, IMAGE):
        return _answer_files(predictor, questions, at_once)
    if len(questions) > 1 and (together := _answer_together(predictor, questions)):
        return together
    return [_guarded(_answer_one, predictor, question) for question in questions]


def _each(predictor: Predictor, question: Question, found: Frame) -> Frame:
    """Of several items each its outcome or its error: where they could not all be answered, one by one."""
    if found.status == 200:
        return found
    started = time.perf_counter()
    frames = [_answer_plain(predictor, [part], 1)[0] for part in parts_of(question, 1)]
    payloads = [json.loads(frame.body) for frame in frames]
    outcomes = [outcome for payload in payloads for outcome in payload.get("predictions", [payload])]
    return _success({"predictions": outcomes}, started, len(outcomes))


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
    place = _explained_class(predictor, output, question)
    explanation = task.load("explainer").explain(predictor, items[0], Asking(predictor.predict, place))
    return _success({**_outcome(predictor, output, question), "explanation": explanation}, started)


def _explained_class(predictor: Predictor, output: Any, question: Question) -> int | None:
    """The place of the class that is looked for, else of the likeliest; None for a number."""
    if not predictor.classes:
        return None
    positive = (question.wanted_decision or {}).get("positive")
    return predictor.classes.index(positive) if positive in predictor.classes else int(np.argmax(output))


def refusal(failure: ProgramFailure, status: int | None = None) -> Frame:
    """The answer for a question that cannot be answered."""
    error = {"code": failure.code, "message": f"{failure.message} {failure.hint}".strip()}
    if failure.field:
        error["field"] = failure.field
    status = status or STATUS_OF_CODE.get(failure.code, USUAL_STATUS)
    return Frame({"status": status, "seconds": 0.0}, json.dumps({"error": error}).encode())


def _outcome(predictor: Predictor, output: Any, question: Question) -> dict[str, Any]:
    """In words, with the decision that the question asks for."""
    outcome = predictor.outcome(output, question.top_k)
    wanted = question.wanted_decision
    return outcome | decide(predictor.classes, output, wanted) if wanted else outcome


def _guarded(predict: Any, predictor: Predictor, question: Question) -> Frame:
    try:
        return predict(predictor, question)
    except ProgramFailure as failure:
        return refusal(failure)
    except Exception:  # one odd input must not end the process that serves everybody else
        traceback.print_exc(file=sys.stderr)
        message = "The model could not answer this input. The reason stands in the replica's log."
        return refusal(ProgramFailure("prediction_failed", message, blame="machine"), 500)


def _success(payload: dict[str, Any], started: float, items: int = 1) -> Frame:
    head = {"status": 200, "seconds": time.perf_counter() - started}
    return Frame(head if items == 1 else head | {"items": items}, json.dumps(payload).encode())


def _of_all(outcomes: Sequence[dict[str, Any]], is_single: bool, started: float) -> Frame:
    return _success(outcomes[0] if is_single else {"predictions": outcomes}, started, len(outcomes))


# Images and recordings


@dataclass(frozen=True)
class _Decoded:
    question: Question
    arrays: list[np.ndarray]
    is_single: bool


def _answer_files(predictor: Predictor, questions: Sequence[Question], at_once: int) -> list[Frame]:
    """Questions that wait together run as one batch."""
    started = time.perf_counter()
    decoded = [_guarded(_decode, predictor, question) for question in questions]
    asked = [item for item in decoded if isinstance(item, _Decoded)]
    if not asked:
        return decoded
    try:
        outputs = iter(_run(predictor, [array for item in asked for array in item.arrays], at_once))
    except Exception:  # the batch fell: each alone, so that one input cannot spoil the others
        return [_guarded(_run_alone, predictor, item) if isinstance(item, _Decoded) else item for item in decoded]
    return [_told(predictor, item, outputs, started) if isinstance(item, _Decoded) else item for item in decoded]


def _decode(predictor: Predictor, question: Question) -> _Decoded | Frame:
    """Raises ProgramFailure."""
    if question.content == PING:
        return Frame({"status": 200, "seconds": 0.0}, b"{}")
    items, is_single = read(predictor, question)
    if is_single:
        return _Decoded(question, [predictor.decode(items[0])], is_single)
    return _Decoded(question, [_decode_one(predictor, item, number) for number, item in enumerate(items)], is_single)


def _decode_one(predictor: Predictor, item: bytes, number: int) -> np.ndarray:
    """One of several. Raises ProgramFailure that says which."""
    try:
        return predictor.decode(item)
    except ProgramFailure as failure:
        message = f"File {number + 1}: {failure.message}"
        raise ProgramFailure(failure.code, message, hint=failure.hint, field=f"file[{number}]") from failure


def _run(predictor: Predictor, arrays: Sequence[np.ndarray], at_once: int) -> Sequence[np.ndarray]:
    """One output for each."""
    steps = range(0, len(arrays), at_once)
    found = [predictor.run(predictor.collate(arrays[start : start + at_once])) for start in steps]
    return found[0] if len(found) == 1 else [output for part in found for output in part]


def _run_alone(predictor: Predictor, item: _Decoded) -> Frame:
    started = time.perf_counter()
    return _told(predictor, item, iter(_run(predictor, item.arrays, 1)), started)


def _told(predictor: Predictor, item: _Decoded, outputs: Iterator[np.ndarray], started: float) -> Frame:
    outcomes = [_outcome(predictor, next(outputs), item.question) for _array in item.arrays]
    return _of_all(outcomes, item.is_single, started)


# Rows and texts


def _answer_together(predictor: Predictor, questions: Sequence[Question]) -> list[Frame]:
    """Those with one item each as one batch; none where that cannot be, and each is to be asked alone."""
    started = time.perf_counter()
    with suppress(Exception):
        asked = [read(predictor, question) for question in questions if question.content != PING]
        if len(asked) == len(questions) and all(is_single for _items, is_single in asked):
            outputs = predictor.predict([items[0] for items, _is_single in asked])
            return [
                _success(_outcome(predictor, output, question), started)
                for output, question in zip(outputs, questions, strict=True)
            ]
    return []


# All


def _answer_one(predictor: Predictor, question: Question) -> Frame:
    started = time.perf_counter()
    if question.content == PING:
        return Frame({"status": 200, "seconds": 0.0}, b"{}")
    items, is_single = read(predictor, question)
    outcomes = [_outcome(predictor, output, question) for output in predictor.predict(items)]
    return _of_all(outcomes, is_single, started)


def read(predictor: Predictor, question: Question) -> tuple[Sequence[Any], bool]:
    """The items in a question, and whether it asks for one outcome only. Raises ProgramFailure."""
    return TASKS[predictor.meta["task"]].load("questions").read(predictor, question)
