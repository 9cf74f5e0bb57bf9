"""Recordings that are made of tones: machines with four states, and numbers that are dialled on a telephone."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from workers.examples.files import csv_bytes, encode_sound, write_zip

RATE = 8_000  # samples a second, as telephones have them
LOUDNESS = 0.3

MACHINES = 80  # recordings of each state
MACHINE_SECONDS = 1.2
# Tones of a telephone's keys, in hertz: ITU-T Recommendation Q.23.
KEYS = {
    "1": (697, 1209), "2": (697, 1336), "3": (697, 1477), "4": (770, 1209), "5": (770, 1336), "6": (770, 1477),
    "7": (852, 1209), "8": (852, 1336), "9": (852, 1477), "0": (941, 1336),
}  # fmt: skip
CALLS = 420
KEY_SECONDS, PAUSE_SECONDS, BREAK_SECONDS = 0.07, 0.045, 0.2


def tone(pitches: Sequence[float], seconds: float, random: np.random.Generator, rate: int = RATE) -> np.ndarray:
    """Sines of these pitches (hertz) at once, as float64 [samples] whose peaks are at most `LOUDNESS`."""
    times = np.arange(round(seconds * rate)) / rate
    waves = [np.sin(2 * np.pi * pitch * times + random.uniform(0, 6)) for pitch in pitches]
    return LOUDNESS * np.mean(waves, axis=0)


def recorded(wave: np.ndarray, random: np.random.Generator, noise: float) -> np.ndarray:
    """`wave` as float32 [samples] with white noise of that standard deviation."""
    return (wave + noise * random.standard_normal(len(wave))).astype(np.float32)


# Speech of tones


def say(
    text: str,
    sounds: Mapping[str, Sequence[float]],
    random: np.random.Generator,
    *,
    seconds: float = KEY_SECONDS,
    pause: float = PAUSE_SECONDS,
    blank: float = BREAK_SECONDS,
    rate: int = RATE,
) -> np.ndarray:
    """Each character of `text` as its pitches for about so many seconds with a pause behind it, and a blank as silence,
    between faint noise: float32 [samples]. Silence stands before and behind."""
    parts = [silence(random.uniform(0.02, 0.08), rate)]
    for character in text:
        pace = random.uniform(0.85, 1.2)
        if character in sounds:
            pitches = [pitch * random.uniform(0.97, 1.03) for pitch in sounds[character]]
            parts += [tone(pitches, seconds * pace, random, rate), silence(pause * pace, rate)]
        else:
            parts.append(silence(blank * pace, rate))
    return recorded(np.concatenate([*parts, silence(0.06, rate)]), random, 0.003)


def silence(seconds: float, rate: int) -> np.ndarray:
    return np.zeros(round(seconds * rate))


def write_dialled(path: Path) -> None:
    """Recordings of numbers of one or two groups as a telephone dials them, with a table that says which."""
    write_zip(dialled(CALLS), path)


def dialled(count: int) -> Iterator[tuple[str, bytes]]:
    """(path in the archive, content) of the recordings, then of metadata.csv."""
    random = np.random.default_rng(0)
    rows = []
    for number in range(count):
        groups = random.integers(2, 5, random.integers(1, 3))
        text = " ".join("".join(random.choice(list(KEYS), length)) for length in groups)
        name = f"calls/{number:03d}.wav"
        yield name, encode_sound(say(text, KEYS, random), RATE)
        rows.append((name, text))
    yield "metadata.csv", csv_bytes(["file_name", "transcript"], rows)


# Machines


def write_machines(path: Path) -> None:
    """Recordings of a motor in four states, a folder each."""
    write_zip(machines(MACHINES), path)


def machines(count: int) -> Iterator[tuple[str, bytes]]:
    """(path in the archive, WAV) of `count` recordings of each state."""
    random = np.random.default_rng(0)
    for state in STATES:
        for number in range(count):
            yield f"machines/{state}/{number:03d}.wav", encode_sound(machine(state, random), RATE)


def machine(state: str, random: np.random.Generator) -> np.ndarray:
    """A motor that hums at 45 to 65 hertz and its multiples, with what its state adds: float32 [samples]."""
    turns = random.uniform(45, 65)  # a second
    hum = sum(tone([turns * order], MACHINE_SECONDS, random) / order for order in range(1, 9))
    wave = STATES[state](hum, turns, random) * random.uniform(0.3, 1.0) / 2
    return recorded(wave, random, random.uniform(0.005, 0.02))


def _sound(hum: np.ndarray, turns: float, random: np.random.Generator) -> np.ndarray:
    return hum


def _unbalanced(hum: np.ndarray, turns: float, random: np.random.Generator) -> np.ndarray:
    """It swells and fades some times a second."""
    times = np.arange(len(hum)) / RATE
    depth = random.uniform(0.6, 0.95)
    return hum * (1 - depth * (0.5 + 0.5 * np.sin(2 * np.pi * random.uniform(3, 7) * times + random.uniform(0, 6))))


def _knocking(hum: np.ndarray, turns: float, random: np.random.Generator) -> np.ndarray:
    """A worn bearing: short knocks that ring at some thousand hertz, every few turns."""
    wave = hum.copy()
    ring, fades = tone([random.uniform(1200, 2600)], 0.03, random), np.exp(-np.arange(round(0.03 * RATE)) / 50)
    step = RATE / (turns / random.uniform(3, 5))
    for start in np.arange(random.uniform(0, step), len(wave) - len(ring), step).astype(int):
        wave[start : start + len(ring)] += random.uniform(1.0, 1.8) * ring * fades
    return wave


def _squealing(hum: np.ndarray, turns: float, random: np.random.Generator) -> np.ndarray:
    """A loose belt: a high whistle whose pitch wavers."""
    times = np.arange(len(hum)) / RATE
    pitch = random.uniform(1500, 3000) * (1 + 0.02 * np.sin(2 * np.pi * random.uniform(2, 6) * times))
    return hum + random.uniform(0.12, 0.25) * np.sin(2 * np.pi * np.cumsum(pitch) / RATE)


STATES = {"sound": _sound, "out of balance": _unbalanced, "worn bearing": _knocking, "loose belt": _squealing}
