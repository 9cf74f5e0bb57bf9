"""The files of a model, and the proof that what serves them answers as training does."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import numpy as np
import sklearn

from workers.arrays import write_arrays
from workers.contract import ProgramFailure
from workers.inference.forecast_predictor import SERIES_FILE, WEIGHTS_FILE, ForecastPredictor
from workers.inference.predictor import load_predictor
from workers.series.model import Asked
from workers.series.regular import most_frequent_first
from workers.series.storing import pack_series
from workers.training.forecasting.fitting import Study
from workers.training.forecasting.search import Chosen

TOLERANCE = 1e-6  # of the size of the forecasts
PARITY_SERIES, EXAMPLE_SERIES = 20, 6


def write_model(study: Study, chosen: Chosen, folder: Path) -> dict[str, Any]:
    """Write all files but the recorded answer; returns what meta.json holds."""
    folder.mkdir(parents=True, exist_ok=True)
    data = study.data
    write_arrays(chosen.model.to_arrays(chosen.trees) | pack_series(data.series), folder / WEIGHTS_FILE)
    names = {"series": [each.name for each in data.series]}
    (folder / SERIES_FILE).write_text(json.dumps(names, ensure_ascii=False), encoding="utf-8")
    meta = _meta(study, chosen)
    question = meta["input"]["example"]
    (folder / "sample.json").write_text(json.dumps(question, ensure_ascii=False, indent=1), encoding="utf-8")
    write_meta(folder, meta)
    return meta


def _meta(study: Study, chosen: Chosen) -> dict[str, Any]:
    data, reading = study.data, study.data.reading
    lengths = {each.name: int(each.known.sum()) for each in data.series}
    named = most_frequent_first(lengths)[:EXAMPLE_SERIES] if len(data.series) > 1 else []
    return {
        "format": 1,
        "task": study.spec.task,
        "architecture": chosen.name,
        "target": reading.columns.target,
        "reading": reading.to_meta(),
        "forecast": {
            "seasons": list(study.recipe.seasons),
            "told_apart": list(study.recipe.names),
            "share": chosen.model.share,
            "floor": chosen.model.floor,
            "from_test": data.from_test,
        },
        "input": {
            "kind": "series",
            "columns": _columns(study),
            "columns_by_role": reading.columns.to_dict(),
            "series": len(data.series),
            "horizon": data.horizon,
            "frequency": reading.frequency.name,
            "season": data.season,
            "until": reading.clock.write(float(reading.frequency.ticks(np.array([data.last]))[0])),
            "examples": named,
            "example": {**({"series": named[0]} if named else {}), "horizon": data.horizon},
        },
        "runtime": "numpy",
        "sample": "sample.json",
        "hyperparameters": study.spec.hyperparameters,
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "sklearn": sklearn.__version__},
    }


def _columns(study: Study) -> list[dict[str, Any]]:
    """Of a row that asks for one time."""
    columns = study.data.reading.columns
    found = [{"name": columns.time, "type": "date", "required": True}]
    if columns.series and len(study.data.series) > 1:
        found.append({"name": columns.series, "type": "categorical", "required": True})
    used = study.data.reading.further.names
    return found + [{"name": name, "type": "known", "required": False} for name in columns.known if name in used]


def write_meta(folder: Path, meta: dict[str, Any]) -> None:
    (folder / "meta.json").write_text(json.dumps(meta, ensure_ascii=False, indent=1, allow_nan=False), encoding="utf-8")


def load_checked(study: Study, chosen: Chosen, folder: Path) -> ForecastPredictor:
    """The model as it is served. Raises ProgramFailure export_differs where it forecasts otherwise than in training."""
    predictor = load_predictor(folder, study.spec.threads)
    for series in study.data.series[:PARITY_SERIES]:
        expected = chosen.model.forecast(Asked.whole(series, np.array([len(series) - 1]), study.data.horizon))
        (served,) = predictor.predict([{"series": series.name}])
        wanted = np.concatenate([expected.middle, expected.low, expected.high])
        gap = float(np.abs(np.asarray(served) - wanted).max())
        if not gap <= TOLERANCE * max(1.0, float(np.abs(wanted).max())):
            message = f"The exported model forecasts {series.name!r} otherwise than the trained one, by {gap:.2g}."
            raise ProgramFailure("export_differs", message, hint="Train again.", blame="machine")
    return predictor
