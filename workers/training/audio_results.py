"""What an audio training leaves behind besides the model: facts for the page, and recordings to listen to."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import soundfile

from workers.audio import decode, fit
from workers.contract import TrainSpec
from workers.training.audio_data import AudioRow, AudioSource
from workers.training.results import library_versions, surest_mistakes

MISTAKES = 24
EXAMPLES = 6
HEARD_SECONDS = 15  # at most, of what people listen to


class Data(Protocol):
    """What is read here of workers.training.audio.AudioData."""

    source: AudioSource
    rows: list[AudioRow]
    classes: list[str]
    labels: np.ndarray
    splits: dict[str, np.ndarray]
    store: np.ndarray
    rate: int
    length: int


def describe_model(
    spec: TrainSpec, data: Data, built: tuple[str, dict[str, Any]], metrics: dict[str, Any]
) -> dict[str, Any]:
    """The body of meta.json: everything needed to use the model, and to load its weights again."""
    architecture, arguments = built
    return {
        "format": 1,
        "task": spec.task,
        "architecture": architecture,
        "architecture_args": arguments,
        "classes": data.classes,
        "input": {"kind": "audio", "rate": data.rate, "length": data.length, "frames": data.store.shape[1]},
        "runtime": "onnx",
        "sample": "sample.wav",
        "metrics": metrics,
        "hyperparameters": spec.hyperparameters,
        "versions": library_versions(),
    }


def write_mistakes(data: Data, probabilities: dict[str, np.ndarray], output: Path) -> list[dict[str, Any]]:
    """Write the surest wrong answers as WAV files under ``mistakes/`` and list them, worst first."""
    (output / "mistakes").mkdir(parents=True, exist_ok=True)
    found = []
    for number, (place, said, probability) in enumerate(surest_mistakes(data, probabilities, MISTAKES)):
        row, name = data.rows[place], f"mistakes/{number:02d}.wav"
        write_sample(data, place, output / name)
        found.append({"audio": name, "true": row.label, "predicted": data.classes[said],
                      "probability": probability, "source": row.source})  # fmt: skip
    return found


def write_examples(data: Data, folder: Path) -> list[dict[str, str]]:
    """Held-out recordings of different classes to try the model with: files in `folder`, and what they are."""
    shown = data.splits["test"] if len(data.splits["test"]) else data.splits["val"]
    by_class: dict[int, int] = {}
    for row in shown:
        by_class.setdefault(int(data.labels[row]), int(row))
    classes = sorted(by_class)
    taken = [classes[place] for place in np.linspace(0, len(classes) - 1, min(EXAMPLES, len(classes))).astype(int)]
    found = []
    for number, label in enumerate(taken):
        name = f"example-{number}.wav"
        write_sample(data, by_class[label], folder / name)
        found.append({"file": name, "label": data.classes[label]})
    return found


def write_sample(data: Data, row: int, path: Path) -> None:
    """One recording, encoded by us, at most 15 seconds of it."""
    samples = decode(data.source.body(data.rows[row]), data.rate)
    heard = fit(samples, min(len(samples), HEARD_SECONDS * data.rate))
    soundfile.write(path, heard, data.rate, format="WAV", subtype="PCM_16")
