"""Rows of a table: ``{"row": {...}}``, ``{"rows": [...]}``, or a tensor for each column."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from workers.contract import ProgramFailure
from workers.inference.framing import SAMPLE, Question
from workers.inference.questions.columns import MAX_ROWS, as_texts, column
from workers.inference.questions.json_body import read_object
from workers.inference.tensors import BYTES, Request, Tensor, bad

if TYPE_CHECKING:
    from workers.inference.table_predictor import TablePredictor

DATATYPES = {"numeric": "FP64"}


def read(predictor: TablePredictor, question: Question) -> tuple[list[dict[str, Any]], bool]:
    if question.content == SAMPLE:
        return [predictor.sample], True
    asked = read_object(question.body, '{"row": {...}} or {"rows": [...]}')
    if isinstance(asked.get("row"), dict):
        return [asked["row"]], True
    rows = asked.get("rows")
    if not isinstance(rows, list) or not rows:
        message = 'The JSON has neither an object under "row" nor a list under "rows".'
        hint = 'Send {"row": {"column": value, ...}}, or {"rows": [...]} for several.'
        raise ProgramFailure("invalid_request", message, hint=hint, field="row")
    if len(rows) > MAX_ROWS:
        message = f"{len(rows):,} rows are too many for one request; at most {MAX_ROWS:,} are answered."
        raise ProgramFailure("too_many_rows", message, hint="Send them in parts.", field="rows")
    return rows, False


def predict_tensors(predictor: TablePredictor, request: Request) -> np.ndarray:
    """float64 [N, classes], or [N] for a regression. NaN and an empty text are unknown."""
    columns = {name: _values(tensor) for name, tensor in request.inputs.items()}
    lengths = {len(values) for values in columns.values()}
    if len(lengths) != 1:
        told = ", ".join(f'"{name}" {len(values)}' for name, values in list(columns.items())[:5])
        raise bad("All columns must have the same number of rows." if columns else "No input was sent.", told)
    return predictor.predict([dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)])


def _values(tensor: Tensor) -> Sequence[Any]:
    if tensor.datatype == BYTES:
        return [text or None for text in as_texts(tensor, MAX_ROWS)]
    values = column(tensor, MAX_ROWS).tolist()
    return [None if isinstance(value, float) and math.isnan(value) else value for value in values]


def describe(facts: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"name": column["name"], "datatype": DATATYPES.get(column["type"], "BYTES"), "shape": [-1]}
        for column in facts.get("columns", [])
    ]
