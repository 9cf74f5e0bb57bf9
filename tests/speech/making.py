"""Speech of three words, each letter a tone, as people upload it, and runs of the training program on it."""

import io
import json
import random
import zipfile
from pathlib import Path

import numpy as np

from tests.audio.making import encoded
from tests.preprocessing.uploads import csv_text, zip_bytes
from tests.training.here import run_training, write_training
from workers.contract import SPEECH_RECOGNITION, TrainSpec, read_spec
from workers.examples import sounds

RATE = 8_000
LETTERS = {"a": (300,), "b": (700,), "e": (1300,), "m": (2100,), "o": (3200,)}
WORDS = ("ma", "bo", "ea")
LETTER_SECONDS, GAP_SECONDS = 0.09, 0.12
QUICK = {
    "model": "conformer_tiny", "epochs": 4, "batch_seconds": 6, "learning_rate": 0.004, "augmentation": "none",
    "dropout": 0.0, "ema_decay": 0.0,
}  # fmt: skip


def say(text: str, seed: int = 0, rate: int = RATE) -> np.ndarray:
    """A tone for each letter, and silence for each blank, between faint noise; equal seeds give equal samples."""
    random = np.random.default_rng(seed)
    return sounds.say(text, LETTERS, random, seconds=LETTER_SECONDS, pause=0.0, blank=GAP_SECONDS, rate=rate)


def sentences(count: int, seed: int = 0) -> list[str]:
    """Of one to three words each."""
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(1, 3))) for _ in range(count)]


def described(texts: list[str], column: str = "transcript", speakers: int = 0) -> dict[str, bytes]:
    """Entries of an upload: a recording of each text, and a table that says so."""
    rows, files = [["file_name", column, "speaker"]], {}
    for number, text in enumerate(texts):
        name = f"clips/{number}.wav"
        files[name] = encoded(say(text, seed=number))
        rows.append([name, text, f"speaker {number % speakers}" if speakers else ""])
    return files | {"metadata.csv": csv_text(rows).encode()}


def write_data(folder: Path, count: int = 160, texts: list[str] | None = None) -> Path:
    """data.zip and index.jsonl as the check leaves them; of ten recordings one is for validation and one to test.
    `count` sentences are said, or these texts."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = ["train"] * 8 + ["val", "test"]
    entries, lines = {}, []
    for number, text in enumerate(texts or sentences(count)):
        member, samples = f"recordings/{number:06d}.wav", say(text, seed=number)
        entries[member] = encoded(samples)
        row = {"member": member, "label": "", "transcript": f"{text.capitalize()}.", "split": parts[number % 10]}
        row |= {"seconds": len(samples) / RATE, "rate": RATE, "source": f"said.zip/{number}.wav"}
        lines.append(json.dumps(row))
    (folder / "data.zip").write_bytes(zip_bytes(entries, zipfile.ZIP_STORED))
    (folder / "index.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def make_spec(work: Path, data: Path, *, resume: bool = False, extends_step: int = 0, **overrides: object) -> TrainSpec:
    return read_spec(
        TrainSpec,
        write_training(work, data, SPEECH_RECOGNITION, QUICK | overrides, resume=resume, extends_step=extends_step),
    )


def train_here(work: Path, data: Path, **overrides: object) -> Path:
    return run_training(write_training(work, data, SPEECH_RECOGNITION, QUICK | overrides))


def names_in(archive: bytes) -> list[str]:
    return zipfile.ZipFile(io.BytesIO(archive)).namelist()
