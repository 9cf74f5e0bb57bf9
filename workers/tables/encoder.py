"""The rows of a table as arrays, by what was learned about each column."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from workers.contract import ProgramFailure
from workers.tables.cells import MISSING_TOKENS, NO_WORDS, find_date_format, is_boolean, is_missing
from workers.tables.columns import COLUMN_TYPES, Column

Row = dict[str, Any]


@dataclass(frozen=True)
class Encoded:
    """`numeric` float32 [N, F] with NaN where missing, `categorical` int64 [N, C]."""

    numeric: np.ndarray
    categorical: np.ndarray

    def __len__(self) -> int:
        return len(self.numeric)

    def __getitem__(self, rows: Any) -> Encoded:
        return Encoded(self.numeric[rows], self.categorical[rows])

    def matrix(self) -> np.ndarray:
        """float32 [N, F + C]: what trees read; categorical codes come last."""
        return np.concatenate([self.numeric, self.categorical.astype(np.float32)], axis=1)


@dataclass(frozen=True)
class TableEncoder:
    """What was learned about each column from the training rows."""

    columns: tuple[Any, ...]
    dropped: tuple[dict[str, str], ...] = ()

    @classmethod
    def fit(cls, columns: Sequence[dict[str, Any]], rows: Sequence[Row], *, keeps_words: bool = False) -> TableEncoder:
        """Learn from `rows`; `columns` are the index's, each with name and type, without the target. With `keeps_words`
        the words of `MISSING_TOKENS` are values.

        Raises ProgramFailure no_usable_columns when nothing is left to learn from, wrong_type for a cell that
        contradicts its column's type.
        """
        fitted, dropped = [], []
        for spec in columns:
            values = [row.get(spec["name"]) for row in rows]
            column, reason = cls._fit_column(spec["name"], spec["type"], values, keeps_words)
            if column:
                fitted.append(column)
            else:
                dropped.append({"name": spec["name"], "type": spec["type"], "reason": reason})
        if not fitted:
            raise ProgramFailure(
                "no_usable_columns",
                "No column of this table can be learned from: each is an identifier, free text, or has one value only.",
                hint="Add columns that describe the rows, or correct the column types.",
            )
        return cls(tuple(fitted), tuple(dropped))

    @staticmethod
    def _fit_column(name: str, kind: str, values: list[Any], keeps_words: bool) -> tuple[Column | None, str]:
        words = NO_WORDS if keeps_words else MISSING_TOKENS
        if reason := _reason_to_drop(kind, values, words):
            return None, reason
        required = not any(is_missing(value, words) for value in values)
        settled = COLUMN_TYPES[_settled_type(kind, values)]
        more = {"keeps_words": keeps_words} if settled.is_categorical else {}
        column = settled.fit(name, required, values, **more)
        if column.is_categorical and not column.values:
            return None, "hardly a value occurs twice"
        return column, ""

    @property
    def numeric_features(self) -> list[str]:
        return [feature for column in self.columns if not column.is_categorical for feature in column.features]

    @property
    def categorical_features(self) -> list[str]:
        return [column.name for column in self.columns if column.is_categorical]

    @property
    def code_counts(self) -> list[int]:
        """Number of codes of each categorical feature."""
        return [column.code_count for column in self.columns if column.is_categorical]

    def feature_columns(self) -> list[str]:
        """The column behind each feature of `Encoded.matrix()`."""
        numeric = [c.name for c in self.columns if not c.is_categorical for _ in c.features]
        return numeric + self.categorical_features

    def encode(self, rows: Sequence[Row]) -> Encoded:
        """Arrays for `rows`. Columns that the encoder does not know are ignored.

        Raises ProgramFailure missing_column, wrong_type, or invalid_row when a row is not a dict.
        """
        self._check_rows(rows)
        numeric, categorical = [], []
        for column in self.columns:
            encoded = column.encode([row.get(column.name) for row in rows])
            (categorical if column.is_categorical else numeric).append(encoded)
        return Encoded(_side_by_side(numeric, len(rows), np.float32), _side_by_side(categorical, len(rows), np.int64))

    def _check_rows(self, rows: Sequence[Row]) -> None:
        required = [column.name for column in self.columns if column.required]
        for position, row in enumerate(rows):
            if not isinstance(row, dict):
                raise ProgramFailure("invalid_row", f"Row {position + 1} must be an object of column names and values.")
            if absent := [name for name in required if name not in row]:
                names = ", ".join(map(repr, absent))
                raise ProgramFailure(
                    "missing_column",
                    f"Row {position + 1} lacks the column{'s' if len(absent) > 1 else ''} {names}.",
                    hint="Send every column the model was trained on; use null where a value is not known.",
                    field=absent[0],
                )

    def input_columns(self, example: Row | None = None) -> list[dict[str, Any]]:
        """What a form needs: name, type, required, default and, by type, choices or min, max and median."""
        described = []
        for column in self.columns:
            entry = {"name": column.name, "type": column.type, "required": column.required, **column.describe()}
            value = (example or {}).get(column.name)
            described.append({**entry, "example": entry["default"] if is_missing(value) else value})
        return described

    def to_meta(self) -> dict[str, Any]:
        """JSON-serialisable; `from_meta` gives the same encoder back."""
        return {"columns": [column.to_meta() for column in self.columns], "dropped": list(self.dropped)}

    @classmethod
    def from_meta(cls, meta: dict[str, Any]) -> TableEncoder:
        columns = (
            COLUMN_TYPES[entry["type"]](**{key: value for key, value in entry.items() if key != "type"})
            for entry in meta["columns"]
        )
        return cls(tuple(columns), tuple(meta["dropped"]))


def _reason_to_drop(kind: str, values: Sequence[Any], words: Container[str]) -> str | None:
    """Why a column teaches nothing, or None."""
    if kind == "identifier":
        return "an identifier: nearly every row has its own value"
    if kind == "text":
        return "free text, which this model does not read"
    present = {str(value).strip() for value in values if not is_missing(value, words)}
    if not present:
        return "no value in any training row"
    if len(present) == 1 and not any(is_missing(value, words) for value in values):
        return "the same value in every training row"
    return None


def _settled_type(kind: str, values: Sequence[Any]) -> str:
    """The index's type, or categorical where the values cannot be read so, as two words that are not yes and no."""
    if kind == "boolean" and not is_boolean(values):
        return "categorical"
    if kind == "date" and find_date_format(values) is None:
        return "categorical"
    return kind if kind in COLUMN_TYPES else "categorical"


def _side_by_side(parts: list[np.ndarray], rows: int, dtype: type) -> np.ndarray:
    return np.concatenate(parts, axis=1).astype(dtype) if parts else np.empty((rows, 0), dtype=dtype)
