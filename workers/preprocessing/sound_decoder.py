"""The child that decodes recordings made by strangers; it is asked and answers as decoder.py beside it.

Modes: ``check`` gives what is known of a recording (`Heard` in decoding.py) and what `glance` makes of it,
``picture`` a spectrogram as PNG, and ``excerpt`` its loudest seconds as WAV that every browser plays.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # each thread of it would take of the memory that this process may have
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # isolated mode leaves out where the project lies

import numpy as np  # noqa: E402
import soundfile  # noqa: E402
from PIL import Image  # noqa: E402

from workers.audio import CONTAINERS, FORMATS, fit, open_sound, read_samples, resample, spectrogram  # noqa: E402
from workers.contract import ProgramFailure  # noqa: E402
from workers.preprocessing.decoder import confine, content_of, serve  # noqa: E402

FULL_SCALE = 0.999
EXCERPT_RATE = 16_000
PICTURE_SIZE = (160, 64)
GLANCE_PARTS = 5
# From silence to the loudest moment: dark blue, violet, orange, pale yellow.
COLOURS = np.array([(22, 20, 48), (92, 42, 130), (214, 84, 92), (252, 170, 96), (252, 240, 190)], dtype=np.float64)


def answer(mode: str, data: bytes, options: dict[str, int]) -> tuple[dict[str, Any], bytes]:
    try:
        fact, samples = describe(data)
    except ProgramFailure as failure:
        return {"code": CODES[failure.code], "reason": reason_of(failure, data)}, b""
    heard = resample(samples, fact["rate"], EXCERPT_RATE)
    heard = fit(heard, min(len(heard), options["excerpt_seconds"] * EXCERPT_RATE))
    body = MAKERS[mode](heard)
    return fact | {"bytes": len(body)}, body


CODES = {"empty_body": "empty_file", "undecodable_audio": "broken_audio", "audio_too_long": "audio_too_long"}


def reason_of(failure: ProgramFailure, data: bytes) -> str:
    if failure.code == "empty_body":
        return "the file is empty"
    if failure.code == "audio_too_long":
        return failure.message.removeprefix("The recording ").rstrip(".")
    return f"cannot be decoded as {FORMATS}: its content is {content_of(data[:512])}, or damaged"


def describe(data: bytes) -> tuple[dict[str, Any], np.ndarray]:
    """Facts and samples. Raises ProgramFailure."""
    with open_sound(data) as file:
        samples, rate = read_samples(file)
        kind, channels = CONTAINERS[file.format], file.channels
    if not len(samples):
        raise ProgramFailure("empty_body", "There are no samples.")
    sizes = np.abs(samples)
    return {
        "format": kind,
        "rate": rate,
        "channels": channels,
        "seconds": round(len(samples) / rate, 4),
        "peak": round(float(sizes.max()), 6),
        "clipped": round(float((sizes >= FULL_SCALE).mean()), 6),
        "sound": hashlib.sha256(np.rint(samples * 32767).astype("<i2").tobytes() + str(rate).encode()).hexdigest(),
    }, samples


def picture(samples: np.ndarray) -> bytes:
    """The spectrogram, high pitches above."""
    levels = spectrogram(samples, EXCERPT_RATE).T[::-1]
    places = np.linspace(0, 255, len(COLOURS))
    pixels = np.stack([np.interp(levels, places, COLOURS[:, channel]) for channel in range(3)], axis=-1)
    out = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).resize(PICTURE_SIZE, Image.Resampling.BILINEAR).save(out, "PNG")
    return out.getvalue()


def excerpt(samples: np.ndarray) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, samples, EXCERPT_RATE, format="WAV", subtype="PCM_16")
    return out.getvalue()


def glance(samples: np.ndarray) -> bytes:
    """float32 [2 * BANDS * GLANCE_PARTS]: mean and standard deviation of each band of the log-mel spectrogram, in
    as many parts of equal length one after the other."""
    levels = spectrogram(samples, EXCERPT_RATE).astype(np.float32) / 255
    parts = [levels[max(0, end - 1) : end] if end == start else levels[start:end] for start, end in _parts(len(levels))]
    return np.concatenate([np.concatenate([part.mean(0), part.std(0)]) for part in parts]).astype("<f4").tobytes()


def _parts(length: int) -> list[tuple[int, int]]:
    edges = np.linspace(0, length, GLANCE_PARTS + 1).astype(int)
    return [(min(start, length - 1), max(end, 1)) for start, end in zip(edges[:-1], edges[1:], strict=True)]


MAKERS = {"check": glance, "picture": picture, "excerpt": excerpt}


if __name__ == "__main__":
    options = json.loads(sys.argv[1])
    confine(options)
    serve(options, sys.stdin.buffer, sys.stdout.buffer, answer)
