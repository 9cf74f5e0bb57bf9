"""How good and how fast a model folder is, asked the way serving asks it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from workers.compression.samples import Samples
from workers.inference.predictor import (
    META_FILE,
    TREES_FILE,
    Predictor,
    graph_path,
    load_trees,
    shares_of,
    tree_groups,
)
from workers.training.metrics import classification_metrics, regression_metrics

EVALUATION_BATCH = 256
THROUGHPUT_BATCH = 32
SPEED_SAMPLES = 64
ROUNDS = 8
SINGLES_SECONDS = 0.12
BATCHES_SECONDS = 0.08
MIN_SINGLES = 12
WARM_UP = 5

Tick = Callable[[float], None]


def measure_quality(predictor: Predictor, samples: Samples, tick: Tick) -> dict[str, float]:
    """Every metric of the task on `samples`. `tick` is told the share that is done and may raise to stop."""
    outputs = []
    for start in range(0, len(samples), EVALUATION_BATCH):
        positions = range(start, min(start + EVALUATION_BATCH, len(samples)))
        outputs.append(predictor.run(predictor.encode([samples.inputs[position] for position in positions])))
        tick(positions.stop / len(samples))
    predicted = np.concatenate(outputs).astype(np.float64)
    measure = classification_metrics if predictor.classes else regression_metrics
    return measure(samples.targets, predicted)


@dataclass
class Stopwatch:
    """Times of one model: seconds of single predictions, whole and without decoding, and items of batches."""

    predictor: Predictor
    inputs: Sequence[Any]
    whole: list[float] = field(default_factory=list)
    model_only: list[float] = field(default_factory=list)
    items: int = 0
    seconds: float = 0.0
    position: int = 0

    def warm_up(self) -> None:
        for _ in range(WARM_UP):
            self.single()
        self.whole.clear()
        self.model_only.clear()

    def round(self) -> None:
        started, count = time.perf_counter(), 0
        while count < MIN_SINGLES or time.perf_counter() - started < SINGLES_SECONDS:
            self.single()
            count += 1
        started = time.perf_counter()
        while time.perf_counter() - started < BATCHES_SECONDS:
            self._batch()

    def single(self) -> None:
        self.position = (self.position + 1) % len(self.inputs)
        started = time.perf_counter()
        encoded = self.predictor.encode([self.inputs[self.position]])
        decoded = time.perf_counter()
        self.predictor.run(encoded)
        ended = time.perf_counter()
        self.whole.append(ended - started)
        self.model_only.append(ended - decoded)

    def _batch(self) -> None:
        batch = [self.inputs[index % len(self.inputs)] for index in range(THROUGHPUT_BATCH)]
        started = time.perf_counter()
        self.predictor.run(self.predictor.encode(batch))
        self.seconds += time.perf_counter() - started
        self.items += len(batch)

    def summary(self) -> dict[str, float]:
        """Milliseconds, and items per second in batches of 32."""
        p50, p99 = np.percentile(self.whole, [50, 99]) * 1000
        return {
            "latency_p50_ms": round(float(p50), 4),
            "latency_p99_ms": round(float(p99), 4),
            "model_latency_p50_ms": round(float(np.median(self.model_only)) * 1000, 4),
            "throughput": round(self.items / self.seconds, 1),
        }


def measure_speed(predictors: Sequence[Predictor], samples: Samples, tick: Tick) -> list[dict[str, float]]:
    """Speeds in the order of `predictors`, in rounds that alternate: what else the machine does falls on all alike."""
    inputs = samples.take(np.arange(min(SPEED_SAMPLES, len(samples)))).inputs
    watches = [Stopwatch(predictor, inputs) for predictor in predictors]
    for watch in watches:
        watch.warm_up()
    for number in range(ROUNDS):
        for watch in watches if number % 2 == 0 else reversed(watches):
            watch.round()
        tick((number + 1) / ROUNDS)
    return [watch.summary() for watch in watches]


def serving_bytes(model_dir: Path, meta: dict[str, Any]) -> int:
    """Bytes of what serving reads: meta.json, the graph, and the trees. Weights kept for training on do not count."""
    total = (model_dir / META_FILE).stat().st_size
    if "onnx" in shares_of(meta):
        total += graph_path(model_dir).stat().st_size
    for group in tree_groups(meta):
        total += sum(array.nbytes for array in load_trees(model_dir / TREES_FILE, group).values())
    return total
