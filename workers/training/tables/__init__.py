"""Table classification and regression.

``output/model/`` gets ``meta.json``, ``model.safetensors``, ``sample.json``, ``heldout.safetensors`` (see heldout.py),
``parity.json``, and ``model.onnx`` where a linear model or an mlp takes part; ``output/result.json`` gets metrics,
confusion, mistakes, importance and history.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from workers.contract import OUTPUT_FOLDER, EventWriter, TrainSpec
from workers.inference.parity import record_answer
from workers.training.stopping import Stop
from workers.training.tables import evaluation
from workers.training.tables.checkpointing import Keeper
from workers.training.tables.data import load_table
from workers.training.tables.export import load_checked, save_model, write_meta
from workers.training.tables.heldout import write_heldout
from workers.training.tables.search import Chosen, member_key, run_search
from workers.training.tables.study import Study, identity


def train(spec: TrainSpec, events: EventWriter, stop: Stop) -> dict[str, Any]:
    """Train, write ``output/``, and return the summary for the result event. Raises Stopped and ProgramFailure."""
    started = time.monotonic()
    study = _prepare(spec, events, stop)
    chosen = run_search(study)
    events.progress(0.92, "Writing and checking the model")
    folder = Path(spec.work_dir) / OUTPUT_FOLDER / "model"
    meta = save_model(study, chosen, folder)
    predictor = load_checked(study, chosen, folder)
    model_bytes = sum(path.stat().st_size for path in folder.iterdir())
    unit = chosen.predicted if study.classes else study.table.target.original(chosen.predicted)
    write_heldout(folder, chosen.rows, unit)
    stop.check()
    result = _evaluate(study, chosen, predictor)
    write_meta(folder, meta | {"metrics": result["metrics"]})
    record_answer(predictor, folder)
    result |= {
        "architecture": meta["architecture"],
        "runtime": meta["runtime"],
        "seconds": round(time.monotonic() - started, 3),
        "model_bytes": model_bytes,
    }
    (folder.parent / "result.json").write_text(json.dumps(result, indent=1))
    events.progress(1.0, "Done")
    return {key: result[key] for key in ("task", "architecture", "metrics", "seconds", "model_bytes")}


def _prepare(spec: TrainSpec, events: EventWriter, stop: Stop) -> Study:
    table = load_table(spec, events)
    keeper = Keeper.open(spec, identity(spec.data_path, table, spec.hyperparameters), events, stop)
    return Study(table, spec.hyperparameters, events, stop, keeper, spec.threads, spec.device)


def _evaluate(study: Study, chosen: Chosen, predictor: Any) -> dict[str, Any]:
    """Validation metrics are of predictions for rows that their model was not trained on; test metrics are of the
    saved model, asked the way serving asks it."""
    study.events.progress(0.95, "Measuring")
    metrics = {"val": study.measure(chosen.predicted, chosen.rows)}
    judged, judged_rows, mistakes = chosen.predicted, chosen.rows, []
    if len(study.table.splits["test"]):
        judged, judged_rows = evaluation.predict_split(study, predictor, "test"), study.table.splits["test"]
        metrics["test"] = evaluation.test_metrics(study, judged)
        mistakes = evaluation.find_mistakes(study, judged)
    return {
        "task": predictor.meta["task"],
        "target": study.table.target.name,
        "classes": list(study.table.target.classes),
        "metrics": metrics,
        "rows": {name: len(rows) for name, rows in study.table.splits.items()},
        "validation": _validation(chosen),
        "confusion": evaluation.confusion(study, judged, judged_rows) if study.classes else None,
        "calibration": evaluation.calibration(study, judged, judged_rows, chosen.temperature),
        "operating": evaluation.operating(study, judged, judged_rows),
        "mistakes": mistakes,
        "importance": evaluation.feature_importance(study, chosen),
        "dropped_columns": list(study.table.encoder.dropped),
        "leaderboard": chosen.leaderboard,
        "history": study.keeper.histories[member_key(chosen.parts[0].candidate, 0)],
    }


def _validation(chosen: Chosen) -> str:
    folds = max(len(part.members) for part in chosen.parts)
    return f"cross-validation, {folds} models, {len(chosen.rows)} rows" if folds > 1 else "validation split"
