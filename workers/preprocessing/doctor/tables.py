"""What is found in a table by learning from it: reads data.csv once, of many rows a sample."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from workers.contract import TABULAR_REGRESSION
from workers.preprocessing.balance import warn_of_balance
from workers.preprocessing.columns import Column, shorten
from workers.preprocessing.doctor.columns import (
    Values,
    is_read,
    warn_of_leakage,
    warn_of_outliers,
    warn_of_weak_columns,
)
from workers.preprocessing.doctor.features import table_features
from workers.preprocessing.doctor.label_errors import warn_of_labels
from workers.preprocessing.findings import Findings
from workers.preprocessing.items import Copies, Items, groups_of, tell_torn, warn_of_copies

LOOKED_AT = 50_000  # rows
FEWEST_COLUMNS = 4  # rows of fewer columns are equal by chance
SHOWN_COLUMNS, SHOWN_CHARACTERS = 6, 40


def items_of(ids: Sequence[str], targets: Sequence[str], splits: Sequence[str]) -> Items:
    """The rows of a table; what stands in them is filled in at the end (`fill_rows`)."""
    return Items(ids, targets, splits, lambda number: {"number": number})


def examine_table(
    path: Path, columns: Sequence[Column], keys: Sequence[str], target: str, task: str, items: Items, findings: Findings
) -> None:
    """`keys` are equal for equal rows; `path` is data.csv."""
    values = sampled(path, len(items.ids))
    is_regression = task == TABULAR_REGRESSION
    warn_of_copies(keys, items, Copies("Rows", "equal to an earlier one", torn=""), findings)
    if not is_regression:
        warn_of_contradictions(values, columns, target, items, findings)
        warn_of_balance(items, "rows", findings)
    warn_of_weak_columns(columns, target, findings)
    telling = warn_of_leakage(values, columns, target, task, items, findings)
    warn_of_outliers(values, [column for column in columns if column.name != target], items, findings)
    if not is_regression:
        read = [column for column in columns if column.name not in (target, *telling) and is_read(column)]
        places = {row: place for place, row in enumerate(values.rows.tolist())}

        def features_of(numbers: np.ndarray) -> np.ndarray:
            asked = [places[number] for number in numbers.tolist()]
            return table_features(
                [(column.type, [values.by_column[column.name][place] for place in asked]) for column in read]
            )

        if read:
            unread = set(range(len(items.ids))) - places.keys()
            warn_of_labels(items, features_of, "rows", findings, looked_at=LOOKED_AT, unreadable=unread)
    fill_rows(findings, path)


def sampled(path: Path, rows: int) -> Values:
    """Every row, or of more than `LOOKED_AT` every second, third, ..."""
    step = 1 + (rows - 1) // LOOKED_AT
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        header = next(reader)
        found = list(islice(reader, 0, None, step))
    return Values(dict(zip(header, map(list, zip(*found, strict=True)), strict=True)), np.arange(0, rows, step))


def warn_of_contradictions(
    values: Values, columns: Sequence[Column], target: str, items: Items, findings: Findings
) -> None:
    """Rows that are equal but for the target."""
    others = [values.by_column[column.name] for column in columns if column.name != target and is_read(column)]
    if len(others) < FEWEST_COLUMNS:
        return
    rows = values.rows.tolist()
    groups = [[rows[place] for place in group] for group in groups_of(list(zip(*others, strict=True)))]
    torn = [group for group in groups if len({items.labels[number] for number in group}) > 1]
    count = sum(map(len, torn))
    if torn:
        message = f'Rows that are equal in every column but "{target}": {count:,}, in {len(torn):,} groups.'
        tell_torn(torn, items, "conflicting_labels", message, findings)


def fill_rows(findings: Findings, path: Path) -> None:
    """Put values of each row that is shown into its finding: of the columns that it is about, then of the first; the
    same for all rows of a finding, as they stand under each other."""
    wanted = {item["number"] for item in findings.shown_items()}
    rows: dict[int, dict[str, str]] = {}
    with open(path, newline="", encoding="utf-8") as file:
        for number, row in enumerate(islice(csv.DictReader(file), max(wanted, default=-1) + 1)):
            if number in wanted:
                rows[number] = row
    for finding in findings.items:
        about = list(dict.fromkeys(name for item in finding["items"] for name in item.pop("columns", ())))
        for item in finding["items"]:
            if "number" not in item:
                continue
            row = rows[item.pop("number")]
            names = list(dict.fromkeys([*about, *row]))[: max(SHOWN_COLUMNS, len(about))]
            item["row"] = [[name, shorten(row[name], SHOWN_CHARACTERS)] for name in names]
