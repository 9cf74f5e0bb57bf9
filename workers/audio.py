"""Bytes of a recording as what a model hears, the same way in training and in serving. numpy and soundfile only.

`decode` makes samples of a file, `fit` takes as many of them as the model hears at once, and `spectrogram` shows how
strong each pitch is in each hundredth of a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import lru_cache
from io import BytesIO

import numpy as np
import soundfile

from workers.contract import ProgramFailure

FORMATS = "WAV, FLAC, MP3, OGG and AIFF"
CONTAINERS = {"WAV": "WAV", "WAVEX": "WAV", "RF64": "WAV", "FLAC": "FLAC", "MP3": "MP3", "OGG": "OGG", "AIFF": "AIFF"}
LONGEST_SECONDS = 600
MOST_SAMPLES = LONGEST_SECONDS * 48_000  # of higher rates fewer seconds: a small FLAC of silence would fill the memory
BLOCK_FRAMES = 2**18
OVERSHOOT = 2.0  # what reaches further than a decoder's rounding does was written on another scale, such as to 32,767
LOWEST_RATE, HIGHEST_RATE, MOST_CHANNELS = 1_000, 384_000, 32
MOST_DOWN = 2_000  # from 383,987 to 16,000 exactly would take a filter of eight million numbers

WINDOW_SECONDS, HOP_SECONDS = 0.025, 0.01
BANDS = 64  # of the mel scale
LOWEST_HERTZ = 40.0
DECIBELS = 70.0  # what is so much softer than the loudest moment counts as silence
SILENT_POWER = 1e-9


def decode(body: bytes, rate: int) -> np.ndarray:
    """The recording in `body` as float32 [samples] between -1 and 1, `rate` of them a second; channels are averaged.

    Raises ProgramFailure with code empty_body, undecodable_audio or audio_too_long.
    """
    with open_sound(body) as file:
        return resample(*read_samples(file), rate)


@contextmanager
def open_sound(body: bytes) -> Iterator[soundfile.SoundFile]:
    """The file in `body`; what goes wrong while it is read is raised as `decode` says."""
    if not body:
        raise ProgramFailure("empty_body", "The recording is empty.", hint="Send the bytes of an audio file.")
    try:
        with soundfile.SoundFile(BytesIO(body)) as file:
            if file.format not in CONTAINERS:  # libsndfile knows some twenty more
                raise _undecodable()
            yield file
    except (soundfile.LibsndfileError, RuntimeError, ValueError, TypeError, MemoryError) as error:
        raise _undecodable() from error


def read_samples(file: soundfile.SoundFile) -> tuple[np.ndarray, int]:
    """Samples float32 [n], and how many of them are a second; block by block, as the header may be wrong about n.
    Raises ProgramFailure as `decode` says."""
    if not LOWEST_RATE <= file.samplerate <= HIGHEST_RATE or file.channels > MOST_CHANNELS:
        raise _undecodable()
    most, blocks, count = min(LONGEST_SECONDS * file.samplerate, MOST_SAMPLES), [], 0
    while len(block := file.read(BLOCK_FRAMES, dtype="float32", always_2d=True)):
        count += len(block)
        if count > most:
            message = f"The recording is longer than {most / file.samplerate / 60:.3g} minutes."
            raise ProgramFailure("audio_too_long", message, hint="Cut it into parts and send these.")
        blocks.append(block.mean(axis=1))
    samples = np.concatenate(blocks) if blocks else np.zeros(0, dtype=np.float32)
    samples = np.nan_to_num(samples, copy=False, posinf=0.0, neginf=0.0)
    if (peak := float(np.abs(samples).max(initial=0.0))) > OVERSHOOT:
        samples /= peak
    return samples, file.samplerate


def _undecodable() -> ProgramFailure:
    message = f"The recording cannot be read: it is damaged or not one of {FORMATS}."
    return ProgramFailure("undecodable_audio", message, hint="Open it in a player and save it as WAV.")


def resample(samples: np.ndarray, source: int, rate: int) -> np.ndarray:
    """From `source` to `rate` samples a second.

    Up by a whole factor, through a low-pass filter, and down by another, where only what stays is computed (a polyphase
    filter; Crochiere and Rabiner 1983, 2.3). SciPy's resample_poly gives the same, and takes a second to load. Where
    the factors would be large, the nearest small ones are taken: at most 0.05 % from `rate`.
    """
    if source == rate or not len(samples):
        return samples
    factor = Fraction(rate, source).limit_denominator(MOST_DOWN)
    up, down = factor.numerator, factor.denominator
    taps = _low_pass(up, down)
    length, half = -(-len(samples) * up // down), len(taps) // 2
    width = -(-len(taps) // up)
    padded = np.pad(samples, (width, width + down))
    found = np.empty(length, dtype=np.float32)
    for phase in range(min(up, length)):
        last, first_tap = divmod(phase * down + half, up)
        weights = taps[first_tap::up][::-1]
        parts = np.lib.stride_tricks.sliding_window_view(padded, len(weights))[last + width - len(weights) + 1 :: down]
        found[phase::up] = parts[: len(found[phase::up])] @ weights
    return found


@lru_cache(maxsize=16)
def _low_pass(up: int, down: int) -> np.ndarray:
    """A sinc in a Kaiser window, so wide that ten of its zeros lie on each side."""
    most = max(up, down)
    places = np.arange(-10 * most, 10 * most + 1)
    taps = np.sinc(places / most) * np.kaiser(len(places), 5.0)
    return (taps * (up / taps.sum())).astype(np.float32)


def fit(samples: np.ndarray, length: int) -> np.ndarray:
    """`length` samples: the loudest part of a longer recording, a shorter one with silence on both sides."""
    if len(samples) > length:
        energy = np.concatenate([[0.0], np.cumsum(samples.astype(np.float64) ** 2)])
        start = int(np.argmax(energy[length:] - energy[:-length]))
        return samples[start : start + length]
    before = (length - len(samples)) // 2
    return np.pad(samples, (before, length - len(samples) - before))


def frames_of(length: int, rate: int) -> int:
    """How many columns the spectrogram of `length` samples has."""
    window, hop = _sizes(rate)
    return max(1, 1 + (length - window) // hop)


def spectrogram(samples: np.ndarray, rate: int) -> np.ndarray:
    """Log-mel spectrogram, uint8 [frames, BANDS]: from 0, `DECIBELS` softer than the loudest moment, to 255, as loud
    as it. So it does not matter how loud a recording is.

    Power of Hann windows of 25 ms, one each 10 ms, summed in triangular bands that are evenly spread on the mel scale
    (2595 * log10(1 + f / 700), O'Shaughnessy 1987).
    """
    window, hop = _sizes(rate)
    if len(samples) < window:
        samples = np.pad(samples, (0, window - len(samples)))
    parts = np.lib.stride_tricks.sliding_window_view(samples, window)[::hop]
    bins = _fft_size(window)
    power = np.abs(np.fft.rfft(parts * np.hanning(window + 2)[1:-1].astype(np.float32), bins, axis=1)) ** 2
    mel = power.astype(np.float32) @ _bands(rate, bins)
    loudest = float(mel.max())
    if loudest <= SILENT_POWER:
        return np.zeros(mel.shape, dtype=np.uint8)
    decibels = 10 * np.log10(np.maximum(mel / loudest, 1e-12))
    return np.rint(np.clip(1 + decibels / DECIBELS, 0, 1) * 255).astype(np.uint8)


def hear(body: bytes, rate: int, length: int) -> np.ndarray:
    """A recording as a model gets it: uint8 [frames, BANDS, 1]. Raises as `decode` does."""
    return spectrogram(fit(decode(body, rate), length), rate)[..., None]


def _sizes(rate: int) -> tuple[int, int]:
    """Samples of a window, and from one window to the next."""
    return round(WINDOW_SECONDS * rate), round(HOP_SECONDS * rate)


def _fft_size(window: int) -> int:
    """At least twice the window: else the lowest bands of a low rate would hold no frequency."""
    return 1 << (2 * window - 1).bit_length()


@lru_cache
def _bands(rate: int, bins: int) -> np.ndarray:
    """What each frequency [bins / 2 + 1] adds to each band."""
    mel = np.linspace(_to_mel(LOWEST_HERTZ), _to_mel(rate / 2), BANDS + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    frequencies = np.fft.rfftfreq(bins, 1 / rate)[:, None]
    rising = (frequencies - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequencies) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)


def _to_mel(hertz: float) -> float:
    return 2595 * np.log10(1 + hertz / 700)
