"""How recordings become what a recogniser hears: spectrograms, or samples as they are. numpy only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from workers.audio import BANDS, HOP_SECONDS, spectrogram
from workers.inference.ctc import STEP

SAMPLES = "samples"  # what `hears` says in a meta.json where it is not spectrograms
LOUDEST = 32_767
FEWEST_SAMPLES = 1_600  # a tenth of a second: less than the first layers of a checkpoint look at
QUIET_FROM = 0.5  # of the longest part: a cut lies behind it


class Hearing(Protocol):
    """`rate` samples a second are heard as moments of `seconds` each, of which a network answers one in `step`."""

    rate: int
    seconds: float
    step: int

    def hear(self, samples: np.ndarray) -> np.ndarray:
        """Samples float32 [n] as moments [moments, ...]."""

    def loudness(self, sound: np.ndarray) -> np.ndarray:
        """[moments]"""

    def feed(self, parts: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Moments of several recordings by the names of the graph's inputs."""


@dataclass(frozen=True)
class Spectra:
    """Log-mel spectrograms uint8 [frames, bands], one frame each 0.01 s."""

    rate: int
    seconds: float = HOP_SECONDS
    step: int = STEP

    def hear(self, samples: np.ndarray) -> np.ndarray:
        return spectrogram(samples, self.rate)

    def loudness(self, sound: np.ndarray) -> np.ndarray:
        return sound.mean(axis=1)

    def feed(self, parts: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Spectrograms uint8 [N, frames, bands] with silence behind them, and lengths [N]."""
        lengths = np.array([len(part) for part in parts], dtype=np.int64)
        return {"spectrogram": padded(parts, (int(lengths.max()), BANDS), np.uint8), "length": lengths}


@dataclass(frozen=True)
class Waves:
    """Samples int16 [samples]. A network hears them one recording at a time: what is padded is heard by some."""

    rate: int
    step: int

    @property
    def seconds(self) -> float:
        return 1 / self.rate

    def hear(self, samples: np.ndarray) -> np.ndarray:
        sound = np.rint(np.clip(samples, -1, 1) * LOUDEST).astype(np.int16)
        return np.pad(sound, (0, max(0, FEWEST_SAMPLES - len(sound))))

    def loudness(self, sound: np.ndarray) -> np.ndarray:
        return np.abs(sound.astype(np.float32))

    def feed(self, parts: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        (part,) = parts
        return {"samples": part[None]}


def hearing_of(meta: Mapping[str, Any]) -> Hearing:
    """That of the model of a meta.json. Raises KeyError."""
    asked = meta["input"]
    if asked.get("hears") == SAMPLES:
        return Waves(int(asked["rate"]), int(asked["step"]))
    return Spectra(int(asked["rate"]))


def padded(parts: Sequence[np.ndarray], shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """[N, *shape] with silence behind each."""
    sounds = np.zeros((len(parts), *shape), dtype=dtype)
    for target, part in zip(sounds, parts, strict=True):
        target[: len(part)] = part
    return sounds


def parts_of(sound: np.ndarray, longest: int, hearing: Hearing) -> list[np.ndarray]:
    """Moments in parts of at most `longest`, each cut at the quietest of its second half; all but the last begin a
    multiple of `step` moments after the one before."""
    parts, step = [], hearing.step
    while len(sound) > longest:
        least = int(longest * QUIET_FROM)
        loudness = np.convolve(hearing.loudness(sound[:longest]), np.full(step, 1 / step), "same")
        cut = max(step, (least + int(loudness[least:].argmin())) // step * step)
        parts.append(sound[:cut])
        sound = sound[cut:]
    return [*parts, sound]
