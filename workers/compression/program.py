"""Compress one model and say honestly what that brought."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from workers import trees
from workers.compression.graphs import RECIPES, Recipe, quantise_graph
from workers.compression.measuring import Tick, measure_quality, measure_speed, serving_bytes
from workers.compression.samples import Samples, load_samples
from workers.contract import IMPROVED, NOT_IMPROVED, OUTPUT_FOLDER, CompressSpec, EventWriter, ProgramFailure
from workers.inference.predictor import (
    META_FILE,
    ONNX_FILE,
    TREES_FILE,
    ImagePredictor,
    Predictor,
    TextPredictor,
    load_predictor,
    load_trees,
    read_meta,
    shares_of,
    tree_groups,
)
from workers.training.stopping import Stop

METHOD = "int8"
CALIBRATION_SAMPLES = 200
CHOICE_SAMPLES = 1000
TOLERATED_LOSS = 0.01  # of accuracy, or of rmse relative to what it was
SMALLER, SLOWER = 1.1, 0.67


@dataclass(frozen=True)
class Work:
    """What every step needs."""

    spec: CompressSpec
    events: EventWriter
    stop: Stop
    meta: dict[str, Any]
    before: Predictor
    samples: dict[str, Samples]

    @property
    def folder(self) -> Path:
        return Path(self.spec.work_dir) / OUTPUT_FOLDER / "model"

    @property
    def judged(self) -> str:
        return "test" if "test" in self.samples else "val"

    def tick(self, begin: float, end: float, message: str) -> Tick:
        """Turns the share of one step into progress of the whole."""

        def report(share: float) -> None:
            self.stop.check()
            self.events.progress(begin + (end - begin) * share, message)

        return report


def compress(spec: CompressSpec, events: EventWriter, stop: Stop) -> dict[str, Any]:
    """Write ``output/`` and return the summary for the result event. Raises Stopped and ProgramFailure."""
    started = time.monotonic()
    work = prepare(spec, events, stop)
    recipe, notes = write_model(work)
    after = load_predictor(work.folder, spec.threads)
    result = describe(work, after, notes) | {"recipe": recipe}
    finish_meta(work, result)
    result["seconds"] = round(time.monotonic() - started, 3)
    (work.folder.parent / "result.json").write_text(json.dumps(result, indent=1))
    events.progress(1.0, "Done")
    return {key: result[key] for key in ("method", "metrics", "ratios", "verdict", "seconds")}


def prepare(spec: CompressSpec, events: EventWriter, stop: Stop) -> Work:
    if spec.method != METHOD:
        message = f"There is no compression method {spec.method!r}."
        raise ProgramFailure("unknown_method", message, hint=f"Use {METHOD}.", blame="settings", field="method")
    meta = read_meta(Path(spec.model_dir))
    if "compression" in meta:
        message = "This model is compressed already."
        raise ProgramFailure("already_compressed", message, hint="Start from its parent.", blame="settings")
    before = load_predictor(Path(spec.model_dir), spec.threads)
    return Work(spec, events, stop, meta, before, load_samples(spec, meta))


# The smaller model


def write_model(work: Work) -> tuple[str, list[str]]:
    """Write the compressed files beside the sample and the meta; returns the recipe and notes."""
    shutil.rmtree(work.folder, ignore_errors=True)
    work.folder.mkdir(parents=True)
    shutil.copyfile(Path(work.spec.model_dir) / work.meta["sample"], work.folder / work.meta["sample"])
    if groups := tree_groups(work.meta):
        write_trees(work, groups)
    (work.folder / META_FILE).write_text(json.dumps(work.meta))
    if "onnx" in shares_of(work.meta):
        return write_graph(work)
    work.stop.check()
    return "int8 leaves, thresholds as codes", []


def write_trees(work: Work, groups: list[str]) -> None:
    work.events.progress(0.1, "Quantising the trees")
    arrays: trees.Arrays = {}
    for group in groups:
        plain = load_trees(Path(work.spec.model_dir) / TREES_FILE, group)
        prefix = f"{group}." if group else ""
        arrays |= {prefix + name: value for name, value in trees.quantise(plain).items()}
    trees.save(arrays, work.folder / TREES_FILE)


def write_graph(work: Work) -> tuple[str, list[str]]:
    """Try each recipe on part of the training data's other half, the validation split, and keep the best."""
    feeds = calibration_feeds(work)
    samples = choice_samples(work)
    source, target = Path(work.spec.model_dir) / ONNX_FILE, work.folder / ONNX_FILE
    best: tuple[float, Recipe, list[str], bytes] | None = None
    for number, recipe in enumerate(RECIPES):
        begin = 0.1 + 0.4 * number / len(RECIPES)
        work.tick(begin, begin, f"Quantising: {recipe.name}")(0.0)
        notes = quantise_graph(source, target, feeds, recipe)
        tick = work.tick(begin + 0.1, begin + 0.4 / len(RECIPES), "Comparing on validation data")
        quality = measure_quality(load_predictor(work.folder, work.spec.threads), samples, tick)
        name, value = headline(quality)
        work.events.log(f"{recipe.name}: {name} {value:.4f} on {len(samples)} validation items")
        score = value if name == "accuracy" else -value
        if best is None or score > best[0]:
            best = (score, recipe, notes, target.read_bytes())
    _score, recipe, notes, body = best
    target.write_bytes(body)
    return recipe.name, notes


def calibration_feeds(work: Work) -> list[dict[str, np.ndarray]]:
    """Inputs of the graph for up to 200 training samples, spread over the split."""
    train = work.samples["train"]
    positions = np.linspace(0, len(train) - 1, min(CALIBRATION_SAMPLES, len(train))).astype(int)
    inputs = train.take(positions).inputs
    return [graph_feed(work.before, item) for item in inputs]


def graph_feed(predictor: Predictor, item: Any) -> dict[str, np.ndarray]:
    encoded = predictor.encode([item])
    if isinstance(predictor, ImagePredictor):
        return {"image": encoded}
    if isinstance(predictor, TextPredictor):
        return {"ids": encoded}
    return {"numeric": encoded.numeric, "categorical": encoded.categorical}


def choice_samples(work: Work) -> Samples:
    """What recipes are compared on: validation data, or training data where there is none; never the test split."""
    found = work.samples.get("val") or work.samples["train"]
    return found.take(np.linspace(0, len(found) - 1, min(CHOICE_SAMPLES, len(found))).astype(int))


# What it brought


def describe(work: Work, after: Predictor, notes: list[str]) -> dict[str, Any]:
    """The body of result.json: both models measured from their files, in this process."""
    samples = work.samples[work.judged]
    qualities = [
        measure_quality(work.before, samples, work.tick(0.5, 0.6, "Measuring the original")),
        measure_quality(after, samples, work.tick(0.6, 0.7, "Measuring the compressed model")),
    ]
    speeds = measure_speed([work.before, after], samples, work.tick(0.7, 0.97, "Measuring speed, turn by turn"))
    sizes = [serving_bytes(Path(work.spec.model_dir), work.meta), serving_bytes(work.folder, work.meta)]
    before, after_figures = (
        {**quality, "bytes": size, **speed} for quality, size, speed in zip(qualities, sizes, speeds, strict=True)
    )
    ratios = {
        "size": round(sizes[0] / sizes[1], 3),
        "speed": round(before["latency_p50_ms"] / after_figures["latency_p50_ms"], 3),
    }
    is_improved, reasons = judge(before, after_figures, ratios)
    for name, value in qualities[1].items():
        work.events.metric(f"final_{name}", value, split=work.judged, step=0, epoch=0)
    return {
        "method": METHOD,
        "before": before,
        "after": after_figures,
        "ratios": ratios,
        "verdict": IMPROVED if is_improved else NOT_IMPROVED,
        "reasons": reasons,
        "notes": notes,
        "metrics": {work.judged: qualities[1]},
        "rows": {"calibration": min(CALIBRATION_SAMPLES, len(work.samples["train"])), work.judged: len(samples)},
    }


def headline(quality: dict[str, float]) -> tuple[str, float]:
    """The figure a model is judged by: accuracy, or rmse, where less is better."""
    name = "accuracy" if "accuracy" in quality else "rmse"
    return name, quality[name]


def judge(before: dict[str, float], after: dict[str, float], ratios: dict[str, float]) -> tuple[bool, list[str]]:
    """Whether it is worth having, and a sentence for each side of it."""
    name, old = headline(before)
    new = after[name]
    if name == "accuracy":
        is_as_good = old - new <= TOLERATED_LOSS
        quality = f"Accuracy went from {old * 100:.1f} % to {new * 100:.1f} %."
    else:
        is_as_good = new - old <= TOLERATED_LOSS * old
        quality = f"The root mean squared error went from {old:.4g} to {new:.4g}."
    is_smaller, is_quick = ratios["size"] >= SMALLER, ratios["speed"] >= SLOWER
    size = f"The files are {_times(ratios['size'], 'smaller', 'larger')}."
    speed = f"A single prediction is {_times(ratios['speed'], 'faster', 'slower')}."
    return is_as_good and is_smaller and is_quick, [quality, size, speed]


def _times(ratio: float, better: str, worse: str) -> str:
    if 0.95 <= ratio <= 1.05:
        return "as " + {"smaller": "large", "faster": "fast"}[better] + " as before"
    return f"{ratio:.2g} times {better}" if ratio > 1 else f"{1 / ratio:.2g} times {worse}"


def finish_meta(work: Work, result: dict[str, Any]) -> None:
    """The meta of the compressed model: its own metrics, and how it came about."""
    compression = {key: result[key] for key in ("method", "recipe", "ratios", "verdict", "notes")}
    meta = work.meta | {"metrics": result["metrics"], "compression": compression}
    (work.folder / META_FILE).write_text(json.dumps(meta, indent=1))
