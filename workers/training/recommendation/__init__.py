"""Recommendation: from a table of who took what to a model that says what they will like next.

``output/model/`` gets ``meta.json``, ``model.safetensors``, ``catalogue.json`` (the items and their names, and the
users), ``sample.json`` and ``parity.json``; ``output/result.json`` gets metrics, those of the baselines, leaderboard
and history.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from workers.contract import OUTPUT_FOLDER, EventWriter, TrainSpec
from workers.inference.parity import record_answer
from workers.parallel.processes import own_device
from workers.training.loop import prepare_torch
from workers.training.recommendation.data import Interactions, read_interactions
from workers.training.recommendation.evaluation import measure_all
from workers.training.recommendation.export import load_checked, write_meta, write_model
from workers.training.recommendation.search import Chosen, Study, identity, run_search
from workers.training.stopping import Stop
from workers.training.tables.checkpointing import Keeper


def train(spec: TrainSpec, events: EventWriter, stop: Stop) -> dict[str, Any]:
    """Train, write ``output/``, and return the summary for the result event. Raises Stopped and ProgramFailure."""
    started = time.monotonic()
    spec = replace(spec, device=own_device(spec.device))
    prepare_torch(spec.threads, spec.hyperparameters["seed"])
    study = _prepare(spec, events, stop)
    chosen = run_search(study)
    events.progress(0.85, "Writing and checking the model")
    folder = Path(spec.work_dir) / OUTPUT_FOLDER / "model"
    meta = write_model(study, chosen, folder)
    predictor = load_checked(study, chosen, folder)
    events.progress(0.92, "Measuring")
    stop.check()
    measured = measure_all(study, chosen)
    write_meta(folder, meta | measured)
    record_answer(predictor, folder)
    result = _describe(study.data, chosen, meta) | measured
    result |= {
        "seconds": round(time.monotonic() - started, 3),
        "model_bytes": sum(path.stat().st_size for path in folder.iterdir()),
    }
    (folder.parent / "result.json").write_text(json.dumps(result, indent=1, allow_nan=False))
    events.progress(1.0, "Done")
    return {key: result[key] for key in ("task", "architecture", "metrics", "seconds", "model_bytes")}


def _prepare(spec: TrainSpec, events: EventWriter, stop: Stop) -> Study:
    events.progress(0.01, "Reading interactions")
    data = read_interactions(spec, events)
    users, items = data.shape
    events.log(
        f"{len(data.users):,} {'ratings' if data.is_rated else 'interactions'} of {users:,} users and {items:,} items, "
        f"{len(data.users) / (users * items):.2%} of all pairs."
    )
    keeper = Keeper.open(spec, identity(spec, data), events, stop)
    return Study(spec, data, events, keeper)


def _describe(data: Interactions, chosen: Chosen, meta: dict[str, Any]) -> dict[str, Any]:
    best = chosen.ranking
    return {
        "task": meta["task"],
        "architecture": meta["architecture"],
        "feedback": data.feedback,
        "users": data.shape[0],
        "items": data.shape[1],
        "interactions": {split: len(rows) for split, rows in data.splits.items()},
        "validation": "the last items of each user" if data.is_by_time else "items of each user drawn at random",
        "epochs": best.epoch,
        "leaderboard": chosen.leaderboard,
        "history": best.history,
    }
