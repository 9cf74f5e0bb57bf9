"""Pictures: files, ``{"image": "<base64>"}``, ``{"images": [...]}``, or tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from workers.inference.framing import Question
from workers.inference.questions.columns import column, only
from workers.inference.questions.several import read_files
from workers.inference.tensors import BYTES, Request, Tensor, bad

if TYPE_CHECKING:
    from workers.inference.image_predictor import ImagePredictor

MAX_IMAGES = 256


def read(predictor: ImagePredictor, question: Question) -> tuple[list[bytes], bool]:
    return read_files(predictor.sample, question, "image", "images", "an image file", MAX_IMAGES)


def predict_tensors(predictor: ImagePredictor, request: Request) -> np.ndarray:
    """float32 [N, classes]"""
    return predictor.run(_images(predictor, only(request)))


def _images(predictor: ImagePredictor, tensor: Tensor) -> np.ndarray:
    """uint8 [N, H, W, C]"""
    if tensor.datatype == BYTES:
        return predictor.encode(list(column(tensor, MAX_IMAGES)))
    height, width, channels = predictor.shape
    wanted = f"UINT8 [N, {height}, {width}, {channels}], or BYTES [N] with encoded images of any size"
    if tensor.datatype != "UINT8" or tensor.array.shape[1:] != predictor.shape:
        got = f"{tensor.datatype} {list(tensor.array.shape)}"
        raise bad(f'The input "{tensor.name}" is {got}; this model takes {wanted}.')
    if not 1 <= tensor.array.shape[0] <= MAX_IMAGES:
        raise bad(f"{tensor.array.shape[0]:,} images were sent; between 1 and {MAX_IMAGES} are answered at once.")
    return np.ascontiguousarray(tensor.array)


def describe(facts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"name": "image", "datatype": "UINT8", "shape": [-1, facts["height"], facts["width"], facts["channels"]]}]
