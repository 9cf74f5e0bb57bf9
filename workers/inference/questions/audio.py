"""Recordings: files, ``{"audio": "<base64>"}``, ``{"recordings": [...]}``, or tensors of files or of samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from workers.contract import ProgramFailure
from workers.inference.framing import Question
from workers.inference.questions.columns import column, only
from workers.inference.questions.several import read_files
from workers.inference.tensors import BYTES, Request, Tensor, bad

if TYPE_CHECKING:
    from workers.inference.audio_predictor import AudioPredictor
    from workers.inference.speech_predictor import SpeechPredictor

MAX_RECORDINGS = 64
MAX_SAMPLES = 10_000_000


def read(predictor: AudioPredictor | SpeechPredictor, question: Question) -> tuple[list[bytes], bool]:
    return read_files(predictor.sample, question, "audio", "recordings", "an audio file", MAX_RECORDINGS)


def predict_tensors(predictor: AudioPredictor | SpeechPredictor, request: Request) -> Any:
    """float32 [N, classes], or what is said in each."""
    return predictor.run(_spectrograms(predictor, only(request)))


def _spectrograms(predictor: AudioPredictor | SpeechPredictor, tensor: Tensor) -> Any:
    if tensor.datatype == BYTES:
        return predictor.encode(list(column(tensor, MAX_RECORDINGS)))
    wanted = f"FP32 [N, samples] with {predictor.rate:,} samples a second, or BYTES [N] with audio files"
    if tensor.datatype != "FP32" or tensor.array.ndim != 2:
        got = f"{tensor.datatype} {list(tensor.array.shape)}"
        raise bad(f'The input "{tensor.name}" is {got}; this model takes {wanted}.')
    count, samples = tensor.array.shape
    if not 1 <= count <= MAX_RECORDINGS or not samples >= 1 or count * samples > MAX_SAMPLES:
        raise bad(f"Between 1 and {MAX_RECORDINGS} recordings with together {MAX_SAMPLES:,} samples are answered.")
    if not np.isfinite(tensor.array).all():
        raise ProgramFailure("invalid_request", "Some samples are not finite numbers.", field=tensor.name)
    return predictor.encode_samples(tensor.array)


def describe(facts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"name": "samples", "datatype": "FP32", "shape": [-1, -1]}]
