"""How good, how fast and how large a model folder is, asked the way serving asks it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from workers.arrays import read_arrays
from workers.compression.judging import headline, lost_points
from workers.compression.samples import Samples
from workers.compression.work import Tick, Work
from workers.inference.files import NETWORK_PREFIX, TREES_FILE, graph_path, read_meta, shares_of, tree_groups
from workers.inference.predictor import Predictor, load_predictor
from workers.training.intervals import confidence_interval
from workers.training.metrics import classification_metrics, regression_metrics

EVALUATION_BATCH = 256
THROUGHPUT_BATCH = 32
SPEED_SAMPLES = 64
ROUNDS = 8
SINGLES_SHARE = 0.6  # of the time; the rest is for batches
MIN_SINGLES = 12
WARM_UP = 5


def ask(predictor: Predictor, samples: Samples, tick: Tick) -> np.ndarray:
    """What it answers to `samples`, float64 [N, ...]. `tick` is told the share that is done and may raise to stop."""
    outputs = []
    for start in range(0, len(samples), EVALUATION_BATCH):
        positions = range(start, min(start + EVALUATION_BATCH, len(samples)))
        outputs.append(predictor.run(predictor.encode([samples.inputs[position] for position in positions])))
        tick(positions.stop / len(samples))
    return np.concatenate(outputs).astype(np.float64)


def quality_of(predictor: Predictor, predicted: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Every metric of the task."""
    measure = classification_metrics if predictor.classes else regression_metrics
    return measure(targets, predicted)


def measure_quality(predictor: Predictor, samples: Samples, tick: Tick) -> dict[str, float]:
    """Every metric of the task on `samples`."""
    return quality_of(predictor, ask(predictor, samples, tick), samples.targets)


def measure_memory(model_dir: Path, threads: int) -> int:
    """Bytes by which a fresh process grows when it loads the model and answers its sample once."""
    command = [sys.executable, "-m", "workers.compression.memory", str(model_dir), str(threads)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


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

    def round(self, seconds: float) -> None:
        started, count = time.perf_counter(), 0
        while count < MIN_SINGLES or time.perf_counter() - started < SINGLES_SHARE * seconds:
            self.single()
            count += 1
        started = time.perf_counter()
        while time.perf_counter() - started < (1 - SINGLES_SHARE) * seconds:
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


def measure_speed(
    predictors: Sequence[Predictor], samples: Samples, seconds: float, tick: Tick
) -> list[dict[str, float]]:
    """Speeds in the order of `predictors`, each asked for so many seconds, in rounds that alternate: what else the
    machine does falls on all alike."""
    inputs = samples.take(np.arange(min(SPEED_SAMPLES, len(samples)))).inputs
    watches = [Stopwatch(predictor, inputs) for predictor in predictors]
    for watch in watches:
        watch.warm_up()
    for number in range(ROUNDS):
        for watch in watches if number % 2 == 0 else reversed(watches):
            watch.round(seconds / ROUNDS)
        tick((number + 1) / ROUNDS)
    return [watch.summary() for watch in watches]


def serving_bytes(model_dir: Path, meta: dict[str, Any]) -> int:
    """Bytes of what answers: the graph as it is stored, and the trees. Weights kept for training on do not count."""
    total = 0
    if "onnx" in shares_of(meta):
        total += graph_path(model_dir).stat().st_size
    if tree_groups(meta):
        path = model_dir / TREES_FILE
        unread = read_arrays(path, lambda name: name.startswith(NETWORK_PREFIX))
        total += path.stat().st_size - sum(array.nbytes for array in unread.values())
    return total


class Gauge:
    """Measures candidates beside the original, which is measured again with each: what else the machine does falls on
    both alike."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.validation, self.judged = work.validation, work.samples[work.judged]
        self.original = self._quality(work.original, lambda _share: work.stop.check())
        self.size = serving_bytes(work.source, work.meta)

    def measure_original(self) -> dict[str, Any]:
        """Figures of the original, as of a candidate that changes nothing."""
        (speed,) = self._speeds([self.work.original], lambda _share: self.work.stop.check())
        return {
            **self.original,
            **speed,
            "bytes": self.size,
            "memory_bytes": measure_memory(self.work.source, self.work.spec.threads),
            "lost_validation": 0.0,
            "lost_points": 0.0,
            "size_ratio": 1.0,
            "speed_ratio": 1.0,
            "prediction_ratio": 1.0,
        }

    def measure(self, folder: Path, tick: Tick) -> dict[str, Any]:
        """Figures of the model in `folder`: metrics, interval, split, rows, validation, bytes, memory_bytes, those of
        `measure_speed`, lost_validation, lost_points, and the ratios to the
        original: size_ratio, speed_ratio (of the model), prediction_ratio (with decoding)."""
        meta = read_meta(folder)
        predictor = load_predictor(folder, self.work.spec.threads)
        quality = self._quality(predictor, lambda share: tick(0.5 * share))
        before, after = self._speeds([self.work.original, predictor], lambda share: tick(0.5 + 0.5 * share))
        size = serving_bytes(folder, meta)
        return {
            **quality,
            **after,
            "bytes": size,
            "memory_bytes": measure_memory(folder, self.work.spec.threads),
            **self._lost(quality),
            "size_ratio": round(self.size / size, 3),
            "speed_ratio": round(before["model_latency_p50_ms"] / after["model_latency_p50_ms"], 3),
            "prediction_ratio": round(before["latency_p50_ms"] / after["latency_p50_ms"], 3),
        }

    def _speeds(self, predictors: Sequence[Predictor], tick: Tick) -> list[dict[str, float]]:
        return measure_speed(predictors, self.judged, self.work.spec.speed_seconds, tick)

    def _quality(self, predictor: Predictor, tick: Tick) -> dict[str, Any]:
        predicted = ask(predictor, self.judged, tick)
        metrics = quality_of(predictor, predicted, self.judged.targets)
        low, high = confidence_interval(predicted, self.judged.targets)
        validation = measure_quality(predictor, self.validation, tick)
        return {
            "metrics": metrics,
            "interval": [low, high],
            "split": self.work.judged,
            "rows": len(self.judged),
            "validation": headline(validation)[1],
        }

    def _lost(self, quality: Mapping[str, Any]) -> dict[str, float]:
        """What is chosen keeps to the limit on validation and on the judged split."""
        name, _value = headline(quality["metrics"])
        before, after = ({name: figures["validation"]} for figures in (self.original, quality))
        on_validation = lost_points(before, after)
        on_judged = lost_points(self.original["metrics"], quality["metrics"])
        return {"lost_validation": on_validation, "lost_points": max(on_validation, on_judged)}
