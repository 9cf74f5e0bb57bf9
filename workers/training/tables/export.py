"""The chosen models as the files that serving reads, and proof that the files answer like what was trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from safetensors.numpy import save_file

from workers.contract import TABULAR_CLASSIFICATION, TABULAR_REGRESSION, ProgramFailure
from workers.inference.outcomes import tempered
from workers.inference.predictor import load_predictor
from workers.inference.table_predictor import TablePredictor
from workers.tables.encoder import Row
from workers.training.tables.linear import average_linear, export_linear
from workers.training.tables.search import Chosen, Judged
from workers.training.tables.study import Study
from workers.trees import Arrays, average

FORMAT = 1
NETWORK_PREFIX = "network."
PARITY_ROWS = 500
PARITY_TOLERANCE = 1e-4
RUNTIMES = {"trees": "trees", "linear": "onnx", "mlp": "onnx"}


def save_model(study: Study, chosen: Chosen, folder: Path) -> dict[str, Any]:
    """Write ``meta.json``, ``model.safetensors``, ``model.onnx`` where there is a network, and ``sample.json``.

    Returns the meta, without metrics. Tree arrays stand in model.safetensors under their own names, the weights of
    linear models and networks (which serving reads from model.onnx) under ``network.``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    arrays: Arrays = {}
    for part in chosen.parts:
        if part.candidate.family == "trees":
            arrays |= _in_unit(study, average(part.members))
        else:
            graph, weights = _network(study, part)
            onnx.save(graph, folder / "model.onnx")
            arrays |= {NETWORK_PREFIX + name: value for name, value in weights.items()}
    save_file({name: np.ascontiguousarray(value) for name, value in arrays.items()}, folder / "model.safetensors")
    sample = sample_row(study)
    (folder / "sample.json").write_text(json.dumps(sample, indent=1))
    meta = make_meta(study, chosen, sample)
    write_meta(folder, meta)
    return meta


def write_meta(folder: Path, meta: dict[str, Any]) -> None:
    (folder / "meta.json").write_text(json.dumps(meta, indent=1))


def sample_row(study: Study) -> Row:
    """A row from the test split, or the validation split where there is none, without the target."""
    rows = study.table.splits["test"] if len(study.table.splits["test"]) else study.table.splits["val"]
    row = study.table.rows[rows[0]]
    return {column.name: row[column.name] for column in study.table.encoder.columns}


def make_meta(study: Study, chosen: Chosen, sample: Row) -> dict[str, Any]:
    target, encoder = study.table.target, study.table.encoder
    blended = len(chosen.parts) > 1
    meta: dict[str, Any] = {
        "format": FORMAT,
        "task": TABULAR_CLASSIFICATION if study.classes else TABULAR_REGRESSION,
        "architecture": "+".join(part.label for part in chosen.parts),
        "target": target.name,
        "input": {"kind": "table", "columns": encoder.input_columns(sample)},
        "encoder": encoder.to_meta(),
        "runtime": "blend" if blended else RUNTIMES[chosen.families[0]],
        "sample": "sample.json",
    }
    if blended:
        meta["blend"] = {RUNTIMES[family]: share for family, share in zip(chosen.families, chosen.shares, strict=True)}
    if study.classes:
        return meta | {"classes": list(target.classes), "temperature": chosen.temperature}
    values = target.original(study.table.targets[study.table.development])
    stats = {"mean": target.mean, "std": target.scale, "min": float(values.min()), "max": float(values.max())}
    return meta | {"target_stats": stats}


def _in_unit(study: Study, arrays: Arrays) -> Arrays:
    """Trees that give the target's own unit instead of standardised values."""
    if study.classes:
        return arrays
    target = study.table.target
    baseline = arrays["baseline"] * target.scale + target.mean
    return {**arrays, "value": (arrays["value"] * target.scale).astype(np.float32), "baseline": baseline}


def _network(study: Study, part: Judged) -> tuple[onnx.ModelProto, Arrays]:
    encoder, target = study.table.encoder, study.table.target
    if part.candidate.family == "mlp":
        weights = {f"{number}.{name}": value for number, arrays in enumerate(part.members)
                   for name, value in arrays.items()}  # fmt: skip
        return part.candidate.export(study, part.members), weights
    weights = average_linear(part.members)
    if not study.classes:
        scaled = {name: weights[name] * target.scale for name in ("weight", "bias")}
        weights |= scaled | {"bias": scaled["bias"] + target.mean}
    return export_linear(weights, len(encoder.numeric_features), encoder.code_counts, study.classes), weights


def load_checked(study: Study, chosen: Chosen, folder: Path) -> TablePredictor:
    """The saved model as serving loads it. Raises ProgramFailure export_differs if it answers unlike the trained."""
    predictor = load_predictor(folder, study.threads)
    rows = study.table.development[:PARITY_ROWS]
    encoded = predictor.encode([study.table.rows[number] for number in rows])
    expected = _expected(study, chosen, rows)
    gap = np.abs(predictor.run(encoded) - expected).max()
    if not gap <= PARITY_TOLERANCE * max(1.0, np.abs(expected).max()):
        message = f"The exported model's predictions differ from the trained one's by {gap:.3g}."
        raise ProgramFailure("export_differs", message, hint="Train again; if it stays, report it.", blame="machine")
    return predictor


def _expected(study: Study, chosen: Chosen, rows: np.ndarray) -> np.ndarray:
    """The trained members' prediction on row numbers `rows`, in the target's unit."""
    encoded = study.table.encoded[rows]
    predicted = sum(
        share * part.candidate.predict(study, _merged(part), encoded)
        if part.candidate.family != "mlp"
        else share * np.mean([part.candidate.predict(study, member, encoded) for member in part.members], axis=0)
        for part, share in zip(chosen.parts, chosen.shares, strict=True)
    )
    return tempered(predicted, chosen.temperature) if study.classes else study.table.target.original(predicted)


def _merged(part: Judged) -> Arrays:
    return average(part.members) if part.candidate.family == "trees" else average_linear(part.members)
