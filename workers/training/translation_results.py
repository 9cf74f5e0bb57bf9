"""What a training of a translator leaves behind besides the model: figures beside baselines, samples, facts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Protocol

import numpy as np
import sacrebleu
import tokenizers

from workers.contract import TrainSpec
from workers.inference.beams import Search
from workers.inference.translation_predictor import TranslationPredictor
from workers.inference.translations import Asked, Translation
from workers.pretrained.model_card import describe_start
from workers.texts import PRETRAINED
from workers.training.pair_data import Pairs
from workers.training.results import library_versions, spread_over
from workers.training.text_results import shorten
from workers.training.translation_figures import Judge, remembered, sentence_chrf
from workers.training.translation_networks import name_of

JUDGED = {"test": 2_000, "val": 500}
TRANSLATED_AT_ONCE = 128
SAMPLES, SAMPLE_CHARACTERS = 24, 400
EXAMPLES, EXAMPLE_CHARACTERS = 6, 160


class Data(Protocol):
    """What is read here of workers.training.translation.PairData."""

    pairs: Pairs
    splits: dict[str, np.ndarray]
    growth: float
    search: Search
    prompt: tuple[int, ...]


def describe_model(
    spec: TrainSpec, data: Data, arguments: Mapping[str, Any], pieces: Mapping[str, Any]
) -> dict[str, Any]:
    """The body of meta.json but for the metrics: everything needed to use the model, and to load its weights again."""
    settings = spec.hyperparameters
    return {
        "format": 1,
        "task": spec.task,
        "architecture": PRETRAINED if spec.start_dir else name_of(arguments),
        "architecture_args": dict(arguments),
        "target": data.pairs.target_column,
        "input": {"kind": "text", "column": data.pairs.source_column, "examples": examples(data)},
        "pieces": dict(pieces),
        "search": asdict(data.search),
        "prompt": list(data.prompt),
        "growth": round(data.growth, 4),
        "runtime": "onnx",
        "sample": "sample.json",
        "hyperparameters": settings,
        **describe_start(spec),
        "versions": library_versions() | {"tokenizers": tokenizers.__version__, "sacrebleu": sacrebleu.__version__},
    }


def examples(data: Data) -> list[str]:
    """Held-out sources of several lengths to try the model with."""
    rows = judged_rows(data, "test" if len(data.splits["test"]) else "val")
    texts = sorted({data.pairs.sources[row] for row in rows}, key=lambda text: (len(text), text))
    short = [text for text in texts if len(text) <= EXAMPLE_CHARACTERS] or texts[:1]
    places = np.linspace(0, len(short) - 1, min(EXAMPLES, len(short))).astype(int)
    return [shorten(short[place], EXAMPLE_CHARACTERS) for place in places]


def judged_rows(data: Data, split: str) -> np.ndarray:
    """Rows of `split`, at most so many as are translated in a minute, from all over it."""
    return spread_over(data.splits[split], JUDGED[split])


def judge_model(
    predictor: TranslationPredictor,
    data: Data,
    tokens: Mapping[str, tuple[float, float]],
    progress: Callable[[float], None],
) -> dict[str, Any]:
    """Figures of the model as it is served, of two ways to do without it, and samples side by side. `tokens` are loss
    and accuracy of the tokens by split; `progress` is told the share that is done."""
    judge = Judge.of([data.pairs.targets[row] for row in data.splits["train"]])
    metrics, found = {}, {}
    for place, split in enumerate(tokens):
        rows = judged_rows(data, split)
        found[split] = []
        for start in range(0, len(rows), TRANSLATED_AT_ONCE):
            progress((place + start / len(rows)) / len(tokens))
            part = rows[start : start + TRANSLATED_AT_ONCE]
            found[split] += predictor.predict([Asked(data.pairs.sources[row]) for row in part])
        figures = judge.figures([item.text for item in found[split]], [data.pairs.targets[row] for row in rows])
        loss, accuracy = tokens[split]
        metrics[split] = figures | {"loss": loss, "token_accuracy": accuracy}
    split = "test" if "test" in tokens else "val"
    rows = judged_rows(data, split)
    return {
        "metrics": metrics,
        "judged": {"split": split, "pairs": len(rows), "of": len(data.splits[split])},
        "baselines": baselines(data, rows, judge),
        "signatures": judge.signatures(),
        "samples": samples(data, rows, found[split]),
    }


def baselines(data: Data, rows: np.ndarray, judge: Judge) -> dict[str, dict[str, float]]:
    """`copy` says the source again; `memory` says the translation of the nearest training source."""
    pairs, train = data.pairs, data.splits["train"]
    asked, references = [pairs.sources[row] for row in rows], [pairs.targets[row] for row in rows]
    known = remembered([pairs.sources[row] for row in train], [pairs.targets[row] for row in train], asked)
    return {"copy": judge.figures(asked, references), "memory": judge.figures(known, references)}


def samples(data: Data, rows: np.ndarray, found: list[Translation]) -> list[dict[str, Any]]:
    """From all over the held-out pairs: the source, its reference, what the model said, and how alike these are."""
    places = np.linspace(0, len(rows) - 1, min(SAMPLES, len(rows))).astype(int)
    chosen = []
    for place in places:
        said = found[place]
        source, reference = data.pairs.sources[rows[place]], data.pairs.targets[rows[place]]
        texts = {"source": source, "reference": reference, "machine": said.text}
        shown = {name: shorten(text, SAMPLE_CHARACTERS) for name, text in texts.items()}
        chosen.append(shown | {"score": round(said.score, 4), "chrf": round(sentence_chrf(said.text, reference), 1)})
    return chosen
