"""Questions in the Open Inference Protocol: what the tensors mean to each kind of model, and what it answers.

Images: one input, UINT8 [N, H, W, C] in the model's own size, or BYTES [N] with encoded images of any size. Tables: one
input per column, [N] or [N, 1]; NaN and an empty text are unknown. Texts: one input, BYTES [N]. Classes come as
"probabilities" FP32 [N, classes] and "class" BYTES [N], a regression as "value" FP64 [N], translations as
"translation" BYTES [N] and "score" FP32 [N], what is said in recordings as "text" BYTES [N] and "confidence" FP32 [N],
answers that were found as "answer" BYTES [N], "" where the model does not know, and "confidence" FP32 [N]. Users: one
input, BYTES [N]; recommendations come as "item" BYTES [N, k] and "score" FP32 [N, k]. Series: one input, BYTES [N];
forecasts come as "time" BYTES [N, H] and "value", "low" and "high" FP64 [N, H]. Several labels: "probabilities" FP32
[N, labels] and "is_said" UINT8 [N, labels].
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from workers.contract import (
    ANSWER_RETRIEVAL,
    FORECASTING,
    MULTI_LABEL_IMAGES,
    RECOMMENDATION,
    SPEECH_RECOGNITION,
    TRANSLATION,
)
from workers.domains import TASKS
from workers.inference.framing import Frame, Question
from workers.inference.predictor import Predictor
from workers.inference.tensors import Request, Tensor, numbers, read_request, texts, write_answer


def answer_tensors(predictor: Predictor, question: Question) -> Frame:
    """Raises ProgramFailure."""
    started = time.perf_counter()
    request = read_request(question.body, question.options.get("json_bytes"))
    outputs = _predict(predictor, request)
    about = {key: question.options[key] for key in ("model_name", "model_version") if key in question.options}
    body, json_bytes = write_answer(request, outputs, about)
    head = {"status": 200, "seconds": time.perf_counter() - started, "json_bytes": json_bytes}
    head["items"] = len(outputs[0].array)
    return Frame(head, body)


def _predict(predictor: Predictor, request: Request) -> list[Tensor]:
    found = TASKS[predictor.meta["task"]].load("questions").predict_tensors(predictor, request)
    if predictor.meta["task"] == TRANSLATION:
        said = [translation.text for translation in found]
        return [texts("translation", said), numbers("score", "FP32", np.array([float(item) for item in found]))]
    if predictor.meta["task"] == SPEECH_RECOGNITION:
        said = [speech.text for speech in found]
        return [texts("text", said), numbers("confidence", "FP32", np.array([float(item) for item in found]))]
    if predictor.meta["task"] == ANSWER_RETRIEVAL:
        said = [predictor.answers[item.places[0]] if item.knows else "" for item in found]
        return [texts("answer", said), numbers("confidence", "FP32", np.array([item.confidence for item in found]))]
    if predictor.meta["task"] == RECOMMENDATION:
        return _lists(predictor, found)
    if predictor.meta["task"] == FORECASTING:
        return _forecasts(found)
    if not predictor.classes:
        return [numbers("value", "FP64", found)]
    if predictor.meta["task"] == MULTI_LABEL_IMAGES:
        said = np.asarray(found) >= predictor.thresholds
        return [numbers("probabilities", "FP32", found), numbers("is_said", "UINT8", said)]
    best = np.argmax(found, axis=1)
    return [numbers("probabilities", "FP32", found), texts("class", [predictor.classes[index] for index in best])]


def _forecasts(found: list[Any]) -> list[Tensor]:
    """[N, H] of times, and of the middles and the ends of the ranges."""
    shape = (len(found), len(found[0].times))
    times = texts("time", [time for each in found for time in each.times])
    parts = {"value": "middle", "low": "low", "high": "high"}
    return [Tensor(times.name, times.datatype, times.array.reshape(shape))] + [
        numbers(name, "FP64", np.stack([getattr(each, part) for each in found])) for name, part in parts.items()
    ]


def _lists(predictor: Predictor, found: list[Any]) -> list[Tensor]:
    """[N, k] of items, best first, and of their scores; "" and 0 where a list is shorter than the longest."""
    longest = max(len(each.places) for each in found)
    padded = [[predictor.items[place] for place in each.places] + [""] * (longest - len(each.places)) for each in found]
    scores = np.zeros((len(found), longest), dtype=np.float32)
    for row, each in zip(scores, found, strict=True):
        row[: len(each.scores)] = each.scores
    items = texts("item", [item for row in padded for item in row])
    return [Tensor(items.name, items.datatype, items.array.reshape(scores.shape)), numbers("score", "FP32", scores)]
