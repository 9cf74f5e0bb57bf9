"""Questions in the Open Inference Protocol: what the tensors mean to each kind of model, and what it answers.

Images: one input, UINT8 [N, H, W, C] in the model's own size, or BYTES [N] with encoded images of any size. Tables: one
input per column, [N] or [N, 1]; NaN and an empty text are unknown. Texts: one input, BYTES [N]. Classes come as
"probabilities" FP32 [N, classes] and "class" BYTES [N], a regression as "value" FP64 [N].
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from workers.contract import ProgramFailure
from workers.inference.framing import Frame, Question
from workers.inference.predictor import ImagePredictor, Predictor, TablePredictor, TextPredictor
from workers.inference.tensors import BYTES, Request, Tensor, bad, numbers, read_request, texts, write_answer
from workers.texts import read_text

MAX_ROWS = 10_000
MAX_TEXTS = 1_000
MAX_IMAGES = 256


def answer_tensors(predictor: Predictor, question: Question) -> Frame:
    """Raises ProgramFailure."""
    started = time.perf_counter()
    request = read_request(question.body, question.options.get("json_bytes"))
    outputs = _predict(predictor, request)
    about = {key: question.options[key] for key in ("model_name", "model_version") if key in question.options}
    body, json_bytes = write_answer(request, outputs, about)
    head = {"status": 200, "seconds": time.perf_counter() - started, "json_bytes": json_bytes}
    return Frame(head, body)


def _predict(predictor: Predictor, request: Request) -> list[Tensor]:
    match predictor:
        case ImagePredictor():
            found = predictor.run_many(_images(predictor, _only(request)))
        case TextPredictor():
            found = predictor.predict_texts([read_text(text) for text in _texts(_only(request), MAX_TEXTS)])
        case _:
            found = predictor.predict_rows(_rows(predictor, request))
    if not predictor.classes:
        return [numbers("value", "FP64", found)]
    best = np.argmax(found, axis=1)
    return [numbers("probabilities", "FP32", found), texts("class", [predictor.classes[index] for index in best])]


def _only(request: Request) -> Tensor:
    if len(request.inputs) != 1:
        raise bad(f"This model takes one input; {len(request.inputs)} were sent.")
    return next(iter(request.inputs.values()))


def _column(tensor: Tensor, most: int) -> np.ndarray:
    """[N] of [N] or [N, 1]."""
    shape = tensor.array.shape
    if len(shape) > 2 or shape[1:] not in ((), (1,)):
        raise bad(f'The input "{tensor.name}" has the shape {list(shape)}; it must be [N] or [N, 1].')
    if not 1 <= shape[0] <= most:
        raise bad(f'The input "{tensor.name}" has {shape[0]:,} elements; between 1 and {most:,} are answered at once.')
    return tensor.array.reshape(-1)


def _texts(tensor: Tensor, most: int) -> list[str]:
    if tensor.datatype != BYTES:
        raise bad(f'The input "{tensor.name}" is of {tensor.datatype}; texts are sent as BYTES in UTF-8.')
    return [_decode(tensor.name, item) for item in _column(tensor, most)]


def _decode(name: str, item: bytes) -> str:
    try:
        return item.decode()
    except UnicodeDecodeError as error:
        raise ProgramFailure("wrong_encoding", f'An element of the input "{name}" is not UTF-8.') from error


def _images(predictor: ImagePredictor, tensor: Tensor) -> np.ndarray:
    """uint8 [N, H, W, C]"""
    if tensor.datatype == BYTES:
        return predictor.encode(list(_column(tensor, MAX_IMAGES)))
    height, width, channels = predictor.shape
    wanted = f"UINT8 [N, {height}, {width}, {channels}], or BYTES [N] with encoded images of any size"
    if tensor.datatype != "UINT8" or tensor.array.shape[1:] != predictor.shape:
        got = f"{tensor.datatype} {list(tensor.array.shape)}"
        raise bad(f'The input "{tensor.name}" is {got}; this model takes {wanted}.')
    if not 1 <= tensor.array.shape[0] <= MAX_IMAGES:
        raise bad(f"{tensor.array.shape[0]:,} images were sent; between 1 and {MAX_IMAGES} are answered at once.")
    return np.ascontiguousarray(tensor.array)


def _rows(predictor: TablePredictor, request: Request) -> list[dict[str, Any]]:
    columns = {name: _values(tensor) for name, tensor in request.inputs.items()}
    lengths = {len(values) for values in columns.values()}
    if len(lengths) != 1:
        told = ", ".join(f'"{name}" {len(values)}' for name, values in list(columns.items())[:5])
        raise bad("All columns must have the same number of rows." if columns else "No input was sent.", told)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _values(tensor: Tensor) -> Sequence[Any]:
    if tensor.datatype == BYTES:
        return [text or None for text in _texts(tensor, MAX_ROWS)]
    values = _column(tensor, MAX_ROWS).tolist()
    return [None if isinstance(value, float) and math.isnan(value) else value for value in values]
