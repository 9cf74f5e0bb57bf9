"""What a training of a recogniser leaves behind besides the model: figures beside a baseline, mistakes to listen to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from workers.contract import TrainSpec
from workers.inference.speech import Speech
from workers.inference.speech_predictor import SpeechPredictor
from workers.pretrained.model_card import describe_start
from workers.texts import PRETRAINED
from workers.training.audio_results import EXAMPLES, MISTAKES, write_sample
from workers.training.results import library_versions, spread_over
from workers.training.speech_data import SpeechData, most_frequent
from workers.training.speech_figures import edits, error_rates, word_differences
from workers.training.speech_networks import name_of
from workers.training.text_results import shorten

JUDGED = {"test": 3_000, "val": 1_000}  # recordings at most
HEARD_AT_ONCE = 32
LABEL_CHARACTERS = 60


def describe_model(spec: TrainSpec, data: SpeechData, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The body of meta.json but for the input, the decoding and the metrics."""
    settings = spec.hyperparameters
    return {
        "format": 1,
        "task": spec.task,
        "architecture": PRETRAINED if spec.start_dir else name_of(arguments),
        "architecture_args": dict(arguments),
        "alphabet": data.alphabet,
        "spelling": {name: settings[name] for name in ("case", "punctuation")},
        "runtime": "onnx",
        "sample": "sample.wav",
        "hyperparameters": settings,
        **describe_start(spec),
        "versions": library_versions() | {"jiwer": version("jiwer")},
    }


def judged_rows(data: SpeechData, split: str, most: Mapping[str, int] = JUDGED) -> np.ndarray:
    """Rows of `split`, at most so many as are heard in a minute, from all over it."""
    return spread_over(data.splits[split], most[split])


def judge_model(
    predictor: SpeechPredictor, data: SpeechData, losses: Mapping[str, float], output: Path,
    progress: Callable[[float], None], most: Mapping[str, int] = JUDGED,
) -> dict[str, Any]:  # fmt: skip
    """Figures of the model as it is served, those of always saying the most frequent transcript, and the worst
    mistakes, whose recordings are written. `losses` are those of each split to judge, of which at most so many
    recordings are heard; `progress` is told the share that is done."""
    metrics, baseline = {}, {}
    usual = most_frequent(data.texts_of(data.splits["train"]))
    for place, split in enumerate(losses):
        rows = judged_rows(data, split, most)
        said = listen(predictor, data, rows, lambda share, place=place: progress((place + share) / len(losses)))
        references = data.texts_of(rows)
        metrics[split] = error_rates([each.text for each in said], references) | {"loss": losses[split]}
        baseline[split] = error_rates([usual] * len(rows), references)
    # The last split is the one that people look at.
    return {
        "metrics": metrics,
        "baseline": baseline,
        "judged": {"split": split, "recordings": len(rows), "of": len(data.splits[split])},
        "usual_transcript": shorten(usual, 200),
        "speech_mistakes": write_mistakes(data, rows, said, output),
    }


def listen(
    predictor: SpeechPredictor, data: SpeechData, rows: np.ndarray, progress: Callable[[float], None]
) -> list[Speech]:
    said: list[Speech] = []
    for start in range(0, len(rows), HEARD_AT_ONCE):
        progress(start / len(rows))
        said += predictor.run([data.store.row(int(row)) for row in rows[start : start + HEARD_AT_ONCE]])
    return said


def write_mistakes(data: SpeechData, rows: np.ndarray, said: Sequence[Speech], output: Path) -> list[dict[str, Any]]:
    """Write the recordings with most wrong words, then characters, under ``mistakes/`` and list them, worst first."""
    (output / "mistakes").mkdir(parents=True, exist_ok=True)
    wrong = [(edits(each.text, data.texts[row]), row, each) for row, each in zip(rows, said, strict=True)]
    wrong = sorted((item for item in wrong if any(item[0])), key=lambda item: item[0], reverse=True)[:MISTAKES]
    found = []
    for number, ((words, _letters), row, each) in enumerate(wrong):
        name = f"mistakes/{number:02d}.wav"
        write_sample(data, int(row), output / name)
        found.append({
            "audio": name, "true": data.texts[row], "said": each.text, "wrong_words": words,
            "confidence": round(each.confidence, 4), "parts": word_differences(each.text, data.texts[row]),
            "source": data.rows[row].source,
        })  # fmt: skip
    return found


def write_examples(data: SpeechData, folder: Path) -> list[dict[str, str]]:
    """Held-out recordings of different transcripts to try the model with: files in `folder`, and what is said."""
    shown = data.splits["test"] if len(data.splits["test"]) else data.splits["val"]
    by_text: dict[str, int] = {}
    for row in shown:
        by_text.setdefault(data.texts[row], int(row))
    texts = sorted(by_text, key=lambda text: (len(text), text))
    found = []
    for number, place in enumerate(np.linspace(0, len(texts) - 1, min(EXAMPLES, len(texts))).astype(int)):
        name = f"example-{number}.wav"
        write_sample(data, by_text[texts[place]], folder / name)
        found.append({"file": name, "label": shorten(texts[place], LABEL_CHARACTERS)})
    return found
