"""Fuse several models and say honestly whether that brought anything."""

from __future__ import annotations

import importlib
import json
import shutil
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from workers.compression.measuring import measure_speed, serving_bytes
from workers.contract import (
    ENSEMBLE,
    FUSION_METHODS,
    IMAGE_CLASSIFICATION,
    IMPROVED,
    NOT_IMPROVED,
    TABULAR_REGRESSION,
    EventWriter,
    FuseSpec,
    ProgramFailure,
)
from workers.fusion.verdict import Measured, best_of, describe, is_better
from workers.fusion.work import Answers, Fused, Work, refuse, require_alike
from workers.inference.files import read_meta
from workers.inference.parity import record_answer
from workers.inference.predictor import load_predictor
from workers.training.calibration import calibration_of
from workers.training.intervals import confidence_interval
from workers.training.metrics import classification_metrics, regression_metrics
from workers.training.stopping import Stop

LEAST_MODELS = 2
ONLY_ONE = "The best version alone does better on validation than with any of the others."
VALLEYS = (
    "Weights average well only where the versions were trained on from one another, or from the same start for a "
    "while. An ensemble does not ask for that."
)


def fuse(spec: FuseSpec, events: EventWriter, stop: Stop) -> dict[str, Any]:
    """Write ``output/`` and return the summary for the result event. Raises Stopped and ProgramFailure."""
    started = time.monotonic()
    work = prepare(spec, events, stop)
    fused = method_module(spec.task).fuse(work)
    measured = measure(work, fused)
    result = conclude(work, fused, measured)
    if result["verdict"] == IMPROVED:
        work.write_meta(fused.meta | {"metrics": result["metrics"], "fusion": describe_fusion(result)})
    else:
        shutil.rmtree(work.folder)
    result["seconds"] = round(time.monotonic() - started, 3)
    (work.folder.parent / "result.json").write_text(json.dumps(result, indent=1))
    events.progress(1.0, "Done")
    return {key: result[key] for key in ("method", "verdict", "metrics", "seconds")}


def method_module(task: str) -> ModuleType:
    """Torch is loaded only where images need it."""
    return importlib.import_module(f"workers.fusion.{'images' if task == IMAGE_CLASSIFICATION else 'tables'}")


def prepare(spec: FuseSpec, events: EventWriter, stop: Stop) -> Work:
    if spec.method not in FUSION_METHODS:
        known = f"Use one of: {', '.join(FUSION_METHODS)}."
        message = f"There is no way to fuse called {spec.method!r}."
        raise ProgramFailure("unknown_method", message, hint=known, blame="settings", field="method")
    if len(spec.models) < LEAST_MODELS:
        raise refuse("too_few_versions", "A fusion takes at least two versions.", hint="Choose more.")
    folders = [Path(model.model_dir) for model in spec.models]
    metas = [read_meta(folder) for folder in folders]
    for model, meta in zip(spec.models, metas, strict=True):
        if "compression" in meta:
            message = f"{model.name} is compressed and has no weights left to fuse."
            raise refuse("compressed_version", message, hint="Choose the version it was made from.")
    work = Work(spec, events, stop, metas, [load_predictor(folder, spec.threads) for folder in folders])
    require_alike(work, "task", [meta["task"] for meta in metas])
    require_alike(work, "list of classes", [meta.get("classes") for meta in metas])
    require_alike(work, "input", [shape_of_input(meta) for meta in metas])
    shutil.rmtree(work.folder, ignore_errors=True)
    work.folder.mkdir(parents=True)
    return work


def shape_of_input(meta: dict[str, Any]) -> Any:
    """What both models must be asked alike: the size of images, or the names and types of columns."""
    asked = meta["input"]
    if asked["kind"] == "image":
        return {name: asked[name] for name in ("height", "width", "channels")}
    return [(column["name"], column["type"]) for column in asked["columns"]]


# What it brought


def measure(work: Work, fused: Fused) -> list[Measured]:
    """Every model's figures, the fused one's last."""
    work.report(0.75, "Measuring speed, turn by turn")
    folders, metas = [*work.folders, work.folder], [*work.metas, fused.meta]
    fused_predictor = load_predictor(work.folder, work.spec.threads)
    record_answer(fused_predictor, work.folder)
    predictors = [*work.predictors, fused_predictor]
    speeds = measure_speed(
        predictors,
        fused.samples,
        work.spec.speed_seconds,
        lambda share: work.report(0.75 + 0.2 * share, "Measuring speed"),
    )
    is_regression = work.spec.task == TABULAR_REGRESSION
    figures = {split: all_figures(answers, is_regression) for split, answers in fused.answers.items()}
    test = fused.answers.get("test")
    return [
        Measured(
            validation=figures["val"][number],
            test=figures["test"][number] if test else {},
            test_interval=confidence_interval(test.predicted[number], test.targets) if test else None,
            size_bytes=serving_bytes(folders[number], metas[number]),
            latency_ms=speeds[number]["latency_p50_ms"],
        )
        for number in range(len(predictors))
    ]


def all_figures(answers: Answers, is_regression: bool) -> list[dict[str, float]]:
    metrics = regression_metrics if is_regression else classification_metrics
    return [metrics(answers.targets, predicted) for predicted in answers.predicted]


def conclude(work: Work, fused: Fused, measured: list[Measured]) -> dict[str, Any]:
    """The body of result.json."""
    *parts, whole = measured
    best = best_of(parts)
    is_single = np.count_nonzero(fused.weights) == 1
    is_improved = not is_single and is_better(whole.validation, parts[best].validation)
    reasons = [ONLY_ONE] if is_single else describe(whole, parts[best], work.spec.models[best].name)
    if not is_improved and work.spec.method != ENSEMBLE:
        reasons.append(VALLEYS)
    metrics = {"val": dict(whole.validation), **({"test": dict(whole.test)} if whole.test else {})}
    for split, values in metrics.items():
        for name, value in values.items():
            work.events.metric(f"final_{name}", value, split=split, step=0, epoch=0)
    return {
        "method": work.spec.method,
        "models": [
            {"name": model.name, "weight": round(float(weight), 6), **part.as_dict()}
            for model, weight, part in zip(work.spec.models, fused.weights, parts, strict=True)
        ],
        "fused": whole.as_dict(),
        "best": best,
        "verdict": IMPROVED if is_improved else NOT_IMPROVED,
        "reasons": reasons,
        "notes": notes_on_data(work),
        "metrics": metrics,
        "rows": {split: len(answers.targets) for split, answers in fused.answers.items()},
        "calibration": describe_calibration(fused),
    }


def describe_calibration(fused: Fused) -> dict[str, Any] | None:
    """See workers.training.calibration; none for a regression."""
    judged = fused.answers.get("test") or fused.answers["val"]
    predicted = judged.predicted[-1]
    return calibration_of(judged.targets, predicted, fused.temperature) if predicted.ndim == 2 else None


def notes_on_data(work: Work) -> list[str]:
    names = [model.name for model in work.spec.models if not model.is_same_data]
    if not names:
        return []
    return [f"{', '.join(names)}: trained on other data, which may hold some of what judges here."]


def describe_fusion(result: dict[str, Any]) -> dict[str, Any]:
    """What the model is made of, for its meta.json."""
    return {
        "method": result["method"],
        "models": [{"name": model["name"], "weight": model["weight"]} for model in result["models"]],
    }
