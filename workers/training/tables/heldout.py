"""What a table model said about rows that its members had not been trained on.

Every row but those of the test split trains some member where there are several folds, so the finished model can not be
judged on any of them again. These answers can: by them several models are judged together, as in stacking (Wolpert
1992, "Stacked generalization").
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from workers.contract import HELDOUT_FILE


def write_heldout(folder: Path, rows: np.ndarray, predicted: np.ndarray) -> None:
    """`rows` [N] are numbers of `Table.rows`; `predicted` are probabilities [N, K] or values [N] in the target's
    unit."""
    arrays = {"rows": rows.astype(np.int32), "predicted": np.ascontiguousarray(predicted, dtype=np.float32)}
    save_file(arrays, folder / HELDOUT_FILE)


def read_heldout(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Rows and predictions. Raises OSError and SafetensorError."""
    arrays = load_file(folder / HELDOUT_FILE)
    return arrays["rows"].astype(np.intp), arrays["predicted"].astype(np.float64)
