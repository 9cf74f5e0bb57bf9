"""Tones of three pitches as recordings, as people upload them, and runs of the training program on them."""

import json
import zipfile
from pathlib import Path

import numpy as np

from tests.preprocessing.uploads import csv_text, zip_bytes
from tests.training.here import run_training, write_training
from workers.contract import AUDIO_CLASSIFICATION, TrainSpec, read_spec
from workers.examples import sounds
from workers.examples.files import encode_sound

PITCHES = {"low": 250.0, "middle": 700.0, "high": 2000.0}
RATE = 8_000
QUICK = {"epochs": 12, "batch_size": 8, "clip_seconds": 0.5, "ema_decay": 0.0}


def tone(
    pitch: float, seed: int = 0, seconds: float = 0.4, rate: int = RATE, loudness: float = sounds.LOUDNESS
) -> np.ndarray:
    """A tone near that pitch (hertz) between faint noise; equal seeds give equal samples."""
    random = np.random.default_rng(seed)
    wave = sounds.tone([pitch * random.uniform(0.93, 1.07)], seconds, random, rate)
    return sounds.recorded(wave * loudness / sounds.LOUDNESS, random, 0.01)


def encoded(samples: np.ndarray, kind: str = "WAV", rate: int = RATE) -> bytes:
    return encode_sound(samples, rate, kind)


def recordings(count: int = 10, first: int = 0) -> dict[str, bytes]:
    """Entries of `count` different recordings in each class folder."""
    return {
        f"{label}/{number}.wav": encoded(tone(pitch, seed=first + 1000 * place + number))
        for place, (label, pitch) in enumerate(PITCHES.items())
        for number in range(count)
    }


def described(speakers: int, count: int = 4) -> dict[str, bytes]:
    """Entries with a metadata.csv, in which each speaker says each class `count` times."""
    rows, files = [["file", "label", "speaker"]], {}
    for speaker in range(speakers):
        for place, (label, pitch) in enumerate(PITCHES.items()):
            for take in range(count):
                name = f"audio/{label}-{speaker}-{take}.wav"
                files[name] = encoded(tone(pitch, seed=100 * speaker + 10 * place + take))
                rows.append([name, label, f"speaker {speaker}"])
    return files | {"metadata.csv": csv_text(rows).encode()}


def write_data(folder: Path, count: int = 20) -> Path:
    """data.zip and index.jsonl as the check leaves them; of ten recordings one is for validation and two to test."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = ["train"] * 7 + ["val", "test", "test"]
    entries = recordings(count)
    (folder / "data.zip").write_bytes(zip_bytes(entries, zipfile.ZIP_STORED))
    lines = [
        json.dumps(
            {"member": name, "label": name.split("/")[0], "split": parts[number % 10], "seconds": 0.4, "rate": RATE,
             "source": f"tones.zip/{name}"}
        )
        for number, name in enumerate(entries)
    ]  # fmt: skip
    (folder / "index.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def make_spec(work: Path, data: Path, *, resume: bool = False, **overrides: object) -> TrainSpec:
    return read_spec(TrainSpec, write_training(work, data, AUDIO_CLASSIFICATION, QUICK | overrides, resume=resume))


def train_here(work: Path, data: Path, **overrides: object) -> Path:
    return run_training(write_training(work, data, AUDIO_CLASSIFICATION, QUICK | overrides))
