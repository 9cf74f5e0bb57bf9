"""Rows of a table as arrays, the same way in training and in serving.

A `TableEncoder` is learned from the training rows, travels in ``meta.json`` and needs numpy only, so that what a model
was trained on and what it is asked later cannot differ. A row is a dict of column name to string, number, boolean or
None, as CSV readers and JSON clients make them.

Two arrays come out. ``numeric`` is float32 [N, F], centred on the median (so 0 is the imputed value) and divided by the
standard deviation; NaN marks a missing value and models decide what to make of it. ``categorical`` is int64 [N, C] with
code 0 for a value that was rare or absent in training, 1 for missing, and 2 and up for the known values.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from typing import Any, ClassVar

import numpy as np

from workers.contract import ProgramFailure

MISSING_TOKENS = frozenset({"", "?", "NA", "N/A", "NaN", "nan", "null", "None"})
NO_WORDS = frozenset({""})  # where "NA" is a value like any other
UNKNOWN_CODE, MISSING_CODE, FIRST_KNOWN_CODE = 0, 1, 2
MAX_KNOWN_VALUES = 200
LARGEST_DEVIATION = 1e6
TRUE_WORDS = frozenset({"true", "yes", "y", "t", "on", "1"})
FALSE_WORDS = frozenset({"false", "no", "n", "f", "off", "0"})
DATE_FORMATS = ("iso", "%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y%m%d")
DATE_PARTS = ("day number", "year", "month", "day", "weekday")

Row = dict[str, Any]


def is_missing(value: Any, words: Container[str] = MISSING_TOKENS) -> bool:
    """Whether a cell has no value: None, NaN, or one of `words` with blanks around it."""
    if isinstance(value, str):
        return value.strip() in words
    return value is None or (isinstance(value, float) and math.isnan(value))


def missing_words(index: Mapping[str, Any]) -> frozenset[str]:
    """The words that mean "not known" in a frozen table, by its index.json."""
    return MISSING_TOKENS if index.get("missing_words", True) else NO_WORDS


def wrong_type(name: str, value: Any, expected: str, position: int) -> ProgramFailure:
    shown = repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "..."
    message = f"Column {name!r} must be {expected}, but row {position + 1} has {shown}."
    return ProgramFailure("wrong_type", message, hint=f"Give {expected}, or leave the value empty.", field=name)


def _number(value: Any) -> float:
    """`value` as a finite float or NaN where it is missing. Raises ValueError when it is no number."""
    if isinstance(value, bool) or (value is not None and not isinstance(value, (int, float, str, np.number))):
        raise ValueError(value)
    if isinstance(value, str):
        value = value.strip()
    if is_missing(value):
        return math.nan
    number = float(value)
    return number if math.isfinite(number) else math.nan


def _text(value: Any) -> str:
    """One spelling for a category: 3, 3.0 and " 3" are all "3"."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, (str, int, float, np.number)):
        raise ValueError(value)
    return str(value).strip()


def _loose(text: str) -> str:
    """A spelling to fall back to when the exact one is unknown: numbers by value, words without case."""
    try:
        return repr(float(text))
    except ValueError:
        return text.casefold()


def _truth(value: Any) -> float:
    if isinstance(value, (bool, np.bool_)):
        return 1.0 if value else -1.0
    if is_missing(value):
        return math.nan
    word = _text(value).casefold()
    if word in TRUE_WORDS:
        return 1.0
    if word in FALSE_WORDS:
        return -1.0
    raise ValueError(value)


def _moment(value: Any, date_format: str) -> datetime | None:
    if is_missing(value):
        return None
    if not isinstance(value, str):
        raise ValueError(value)
    if date_format == "iso":
        return datetime.fromisoformat(value.strip())
    return datetime.strptime(value.strip(), date_format)


def _convert(name: str, values: Sequence[Any], convert: Any, expected: str) -> list[Any]:
    converted = []
    for position, value in enumerate(values):
        try:
            converted.append(convert(value))
        except (ValueError, TypeError, OverflowError):
            raise wrong_type(name, value, expected, position) from None
    return converted


def _standardise(values: np.ndarray, center: Any, scale: Any) -> np.ndarray:
    return np.clip((values - center) / scale, -LARGEST_DEVIATION, LARGEST_DEVIATION)


def _center_and_scale(values: np.ndarray) -> tuple[float, float]:
    known = values[~np.isnan(values)]
    with np.errstate(over="ignore"):
        deviation = float(known.std())
    return float(np.median(known)), deviation if 0 < deviation < math.inf else 1.0


@dataclass(frozen=True)
class Column:
    """One column that the model reads. Subclasses say how its values become features."""

    name: str
    required: bool
    type: ClassVar[str]
    is_categorical: ClassVar[bool] = False

    @property
    def features(self) -> list[str]:
        return [self.name]

    def to_meta(self) -> dict[str, Any]:
        return {"type": self.type, **asdict(self)}


@dataclass(frozen=True)
class NumericColumn(Column):
    center: float
    scale: float
    minimum: float
    maximum: float
    type: ClassVar[str] = "numeric"

    @classmethod
    def fit(cls, name: str, required: bool, values: Sequence[Any]) -> NumericColumn:
        numbers = np.array(_convert(name, values, _number, "a number"))
        return cls(name, required, *_center_and_scale(numbers), float(np.nanmin(numbers)), float(np.nanmax(numbers)))

    def encode(self, values: Sequence[Any]) -> np.ndarray:
        """float64 [N, 1]."""
        numbers = np.array(_convert(self.name, values, _number, "a number"), dtype=np.float64)
        return _standardise(numbers, self.center, self.scale)[:, None]

    def describe(self) -> dict[str, Any]:
        return {"min": self.minimum, "max": self.maximum, "median": self.center, "default": self.center}


@dataclass(frozen=True)
class BooleanColumn(Column):
    common: bool
    type: ClassVar[str] = "boolean"

    @classmethod
    def fit(cls, name: str, required: bool, values: Sequence[Any]) -> BooleanColumn:
        truths = np.array(_convert(name, values, _truth, "true or false"))
        return cls(name, required, bool(np.nansum(truths) > 0))

    def encode(self, values: Sequence[Any]) -> np.ndarray:
        """float64 [N, 1]: 1 is true, -1 is false."""
        return np.array(_convert(self.name, values, _truth, "true or false"), dtype=np.float64)[:, None]

    def describe(self) -> dict[str, Any]:
        return {"choices": [True, False], "default": self.common}


@dataclass(frozen=True)
class DateColumn(Column):
    format: str
    center: list[float]
    scale: list[float]
    minimum: str
    maximum: str
    type: ClassVar[str] = "date"

    @property
    def features(self) -> list[str]:
        return [f"{self.name} ({part})" for part in DATE_PARTS]

    @staticmethod
    def _parts(moment: datetime | None) -> tuple[float, ...]:
        if moment is None:
            return (math.nan,) * len(DATE_PARTS)
        if moment.tzinfo:
            moment = moment.astimezone(UTC)
        day_number = moment.toordinal() + (moment.hour * 60 + moment.minute) / 1440
        return day_number, moment.year, moment.month, moment.day, moment.weekday()

    @classmethod
    def fit(cls, name: str, required: bool, values: Sequence[Any]) -> DateColumn:
        date_format = find_date_format(values)
        if date_format is None:
            raise wrong_type(name, next(v for v in values if not is_missing(v)), "a date such as 2024-05-31", 0)
        parts = np.array([cls._parts(_moment(value, date_format)) for value in values])
        spread = [_center_and_scale(part) for part in parts.T]
        first, last = (date.fromordinal(int(f(parts[:, 0]))).isoformat() for f in (np.nanmin, np.nanmax))
        return cls(name, required, date_format, [c for c, _ in spread], [s for _, s in spread], first, last)

    def encode(self, values: Sequence[Any]) -> np.ndarray:
        """float64 [N, 5]: day number, year, month, day, weekday."""
        shape = "such as 2024-05-31" if self.format == "iso" else f"written as {self.format}"
        moments = _convert(self.name, values, lambda value: _moment(value, self.format), f"a date {shape}")
        parts = np.array([self._parts(moment) for moment in moments], dtype=np.float64).reshape(-1, len(DATE_PARTS))
        return _standardise(parts, self.center, self.scale)

    def describe(self) -> dict[str, Any]:
        middle = date.fromordinal(int(self.center[0]))
        default = middle.isoformat() if self.format == "iso" else middle.strftime(self.format)
        return {"min": self.minimum, "max": self.maximum, "format": self.format, "default": default}


@dataclass(frozen=True)
class CategoricalColumn(Column):
    """`keeps_words` is for data in which "NA" and the like are values, and not missing."""

    values: list[str]
    keeps_words: bool = False
    codes: dict[str, int] = field(init=False, repr=False, compare=False)
    loose_codes: dict[str, int] = field(init=False, repr=False, compare=False)
    type: ClassVar[str] = "categorical"
    is_categorical: ClassVar[bool] = True

    def __post_init__(self) -> None:
        codes = {value: code for code, value in enumerate(self.values, FIRST_KNOWN_CODE)}
        times = Counter(_loose(value) for value in self.values)
        loose = {_loose(value): code for value, code in codes.items() if times[_loose(value)] == 1}
        object.__setattr__(self, "codes", codes)
        object.__setattr__(self, "loose_codes", loose)

    @property
    def missing_words(self) -> frozenset[str]:
        return NO_WORDS if self.keeps_words else MISSING_TOKENS

    @classmethod
    def fit(cls, name: str, required: bool, values: Sequence[Any], *, keeps_words: bool = False) -> CategoricalColumn:
        """Known values are those seen often enough to learn from, the most frequent first."""
        words = NO_WORDS if keeps_words else MISSING_TOKENS
        counts = Counter(_convert(name, [v for v in values if not is_missing(v, words)], _text, "a text or a number"))
        rarest = 2 if len(values) < 1000 else 5
        known = [value for value, count in counts.most_common(MAX_KNOWN_VALUES) if count >= rarest]
        return cls(name, required, known, keeps_words)

    def _code(self, value: Any) -> int:
        if is_missing(value, self.missing_words):
            return MISSING_CODE
        text = _text(value)
        code = self.codes.get(text)
        return self.loose_codes.get(_loose(text), UNKNOWN_CODE) if code is None else code

    def encode(self, values: Sequence[Any]) -> np.ndarray:
        """int64 [N, 1]."""
        return np.array(_convert(self.name, values, self._code, "a text or a number"), dtype=np.int64)[:, None]

    @property
    def code_count(self) -> int:
        return FIRST_KNOWN_CODE + len(self.values)

    def to_meta(self) -> dict[str, Any]:
        meta = {"type": self.type, "name": self.name, "required": self.required, "values": self.values}
        return meta | ({"keeps_words": True} if self.keeps_words else {})

    def describe(self) -> dict[str, Any]:
        return {"choices": self.values, "default": self.values[0]}


COLUMN_TYPES: dict[str, type[Column]] = {
    kind.type: kind for kind in (NumericColumn, BooleanColumn, DateColumn, CategoricalColumn)
}


def find_date_format(values: Sequence[Any]) -> str | None:
    """The first of `DATE_FORMATS` that reads every value, or None."""
    for date_format in DATE_FORMATS:
        try:
            for value in values:
                _moment(value, date_format)
        except ValueError:
            continue
        return date_format
    return None


def _is_boolean(values: Sequence[Any]) -> bool:
    try:
        for value in values:
            _truth(value)
    except ValueError:
        return False
    return True


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
    if kind == "boolean" and not _is_boolean(values):
        return "categorical"
    if kind == "date" and find_date_format(values) is None:
        return "categorical"
    return kind if kind in COLUMN_TYPES else "categorical"


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


def _side_by_side(parts: list[np.ndarray], rows: int, dtype: type) -> np.ndarray:
    return np.concatenate(parts, axis=1).astype(dtype) if parts else np.empty((rows, 0), dtype=dtype)
