"""Which files a model can be asked about, and what they become. Pure, for the site to look before it sends one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CSV_FILE, JSON_FILE = PREDICTION_FILES = ("predictions.csv", "predictions.jsonl")
TABLE, TEXT = "table", "text"
WHAT_TO_SEND = {
    TABLE: "Send a table as CSV, TSV or JSON Lines, with the columns that the model was trained on.",
    TEXT: "Send a table as CSV, TSV or JSON Lines, with the column that holds the texts.",
}
FILES_TO_SEND = "Send a ZIP of the files to predict."


def reads_rows(meta: Mapping[str, Any]) -> bool:
    """Whether the model of this meta.json is asked about rows of a table; all others are asked about files."""
    return meta["input"]["kind"] in WHAT_TO_SEND


def what_to_send(meta: Mapping[str, Any]) -> str:
    """A sentence for people who have sent something else."""
    return WHAT_TO_SEND.get(meta["input"]["kind"], FILES_TO_SEND)


def missing_columns(meta: Mapping[str, Any], header: list[str]) -> list[str]:
    """What a table lacks of the columns without which the model cannot be asked."""
    asked = meta["input"]
    if asked["kind"] == TEXT:
        return [] if asked.get("column") in (None, *header) or len(header) == 1 else [asked["column"]]
    return [item["name"] for item in asked.get("columns", []) if item.get("required") and item["name"] not in header]
