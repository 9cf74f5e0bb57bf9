"""Which files a model can be asked about, and what they become. Pure, for the site to look before it sends one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from workers.contract import KIND_TABLE
from workers.domains import SERIES, TASKS, TEXT

CSV_FILE, JSON_FILE, TARGETS_FILE = PREDICTION_FILES = ("predictions.csv", "predictions.jsonl", "targets.csv")
TABLE_TO_SEND = "Send a table as CSV, TSV, Excel or JSON Lines, with the columns that the model was trained on."
TEXTS_TO_SEND = "Send a table as CSV, TSV, Excel or JSON Lines, with the column that holds the texts."
TIMES_TO_SEND = (
    "Send a table as CSV, TSV, Excel or JSON Lines, with the times to forecast and the names of their series."
)
FILES_TO_SEND = "Send a ZIP of the files to predict."


def reads_rows(task: str) -> bool:
    """Whether models of the task are asked about rows of a table; all others are asked about files."""
    return TASKS[task].data == KIND_TABLE


def what_to_send(task: str) -> str:
    """A sentence for people who have sent something else."""
    if not reads_rows(task):
        return FILES_TO_SEND
    if TASKS[task].asks == SERIES:
        return TIMES_TO_SEND
    return TEXTS_TO_SEND if TASKS[task].asks == TEXT else TABLE_TO_SEND


def text_column(meta: Mapping[str, Any], header: Sequence[str]) -> str | None:
    """Of a model that is asked about texts, the column that holds them: its own, or the only one. None where there is
    no such column, or the model is asked about whole rows."""
    if TASKS[meta["task"]].asks != TEXT:
        return None
    own = meta["input"].get("column")
    return own if own in header else header[0] if len(header) == 1 else None


def missing_columns(meta: Mapping[str, Any], header: Sequence[str]) -> list[str]:
    """What a table lacks of the columns without which the model cannot be asked."""
    if TASKS[meta["task"]].asks == TEXT:
        return [] if text_column(meta, header) else [meta["input"].get("column") or "text"]
    columns = meta["input"].get("columns", [])
    return [item["name"] for item in columns if item.get("required") and item["name"] not in header]
