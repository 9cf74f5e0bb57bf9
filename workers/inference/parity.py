"""What a model answered to its own sample when it was made: the same files must answer alike wherever they are run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

PARITY_FILE = "parity.json"
# Of a probability, or of a value relative to itself: another processor may round otherwise, no more.
TOLERANCE = 1e-3


def record_answer(predictor: Any, model_dir: Path) -> None:
    """Write ``parity.json``: {"sample", "answer", "tolerance"}; an answer is all probabilities, or one value, or the
    score of a translation, or the confidence in what was said."""
    answer = {"sample": predictor.meta["sample"], "answer": answer_to_sample(predictor), "tolerance": TOLERANCE}
    (model_dir / PARITY_FILE).write_text(json.dumps(answer, indent=1))


def answer_to_sample(predictor: Any) -> list[float]:
    output = predictor.predict([predictor.sample])[0]
    return np.atleast_1d(np.asarray(output, dtype=np.float64)).tolist()


def difference_from_record(predictor: Any, model_dir: Path) -> tuple[float, float]:
    """How far the answer is from the recorded one, and how far it may be. Raises OSError, ValueError, KeyError."""
    record = json.loads((model_dir / PARITY_FILE).read_text())
    then, now = np.array(record["answer"], dtype=np.float64), np.array(answer_to_sample(predictor))
    if then.shape != now.shape:
        raise ValueError(f"{PARITY_FILE} has {len(then)} numbers where the model gives {len(now)}")
    scale = 1.0 if predictor.classes else max(1e-12, float(np.abs(then).max()))
    return float(np.abs(now - then).max()) / scale, float(record["tolerance"])
