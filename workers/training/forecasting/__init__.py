"""Forecasting: from a table of values over time to a model that says what comes next, and how far it may be off.

``output/model/`` gets ``meta.json``, ``model.safetensors`` (trees, weights, corrections and the series),
``series.json`` (their names), ``sample.json`` and ``parity.json``; ``output/result.json`` gets metrics, those of the
baselines, leaderboard and some forecasts beside the truth.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from workers.contract import OUTPUT_FOLDER, EventWriter, TrainSpec
from workers.inference.parity import record_answer
from workers.series.storing import recipe_of
from workers.training.forecasting.data import SeriesData, read_series
from workers.training.forecasting.evaluation import examples, measure_all
from workers.training.forecasting.export import load_checked, write_meta, write_model
from workers.training.forecasting.fitting import Study
from workers.training.forecasting.search import Chosen, run_search
from workers.training.stopping import Stop
from workers.training.tables.checkpointing import Keeper


def train(spec: TrainSpec, events: EventWriter, stop: Stop) -> dict[str, Any]:
    """Train, write ``output/``, and return the summary for the result event. Raises Stopped and ProgramFailure."""
    started = time.monotonic()
    study = _prepare(spec, events, stop)
    with threadpool_limits(spec.threads):
        chosen = run_search(study)
    events.progress(0.87, "Writing and checking the model")
    folder = Path(spec.work_dir) / OUTPUT_FOLDER / "model"
    meta = write_model(study, chosen, folder)
    predictor = load_checked(study, chosen, folder)
    events.progress(0.92, "Measuring")
    stop.check()
    measured = measure_all(study, chosen)
    write_meta(folder, meta | measured)
    record_answer(predictor, folder)
    result = _describe(study.data, chosen, meta) | measured
    result["examples"] = examples(study.data, chosen.model)
    result["seconds"] = round(time.monotonic() - started, 3)
    result["model_bytes"] = sum(path.stat().st_size for path in folder.iterdir())
    (folder.parent / "result.json").write_text(json.dumps(result, indent=1, allow_nan=False))
    events.progress(1.0, "Done")
    return {key: result[key] for key in ("task", "architecture", "metrics", "seconds", "model_bytes")}


def _prepare(spec: TrainSpec, events: EventWriter, stop: Stop) -> Study:
    events.progress(0.01, "Reading series")
    data = read_series(spec, events)
    keeper = Keeper.open(spec, _identity(spec, data), events, stop)
    return Study(spec, data, recipe_of(data.reading, data.seasons, data.told_apart), events, keeper)


def _identity(spec: TrainSpec, data: SeriesData) -> dict[str, Any]:
    """What must be the same for a checkpoint to be this training's."""
    return {
        "hyperparameters": spec.hyperparameters,
        "columns": data.reading.columns.to_dict(),
        "data_bytes": Path(spec.data_path).stat().st_size,
    }


def _describe(data: SeriesData, chosen: Chosen, meta: dict[str, Any]) -> dict[str, Any]:
    return {
        "task": meta["task"],
        "architecture": meta["architecture"],
        "series": len(data.series),
        "frequency": data.reading.frequency.name,
        "horizon": data.horizon,
        "season": data.season,
        "filled": sum(int((~each.known).sum()) for each in data.series),
        "validation": "the last part of time before the test",
        "linear_share": chosen.model.share,
        "rounds": chosen.rounds,
        "leaderboard": chosen.leaderboard,
    }
