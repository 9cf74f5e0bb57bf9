"""Columns that a model reads, each learned from the values of the training rows, and how values become features."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from typing import Any, ClassVar

import numpy as np

from workers.contract import ProgramFailure
from workers.tables.cells import (
    MISSING_TOKENS,
    NO_WORDS,
    find_date_format,
    is_missing,
    loosely,
    moment_of,
    number_of,
    text_of,
    truth_of,
)

UNKNOWN_CODE, MISSING_CODE, FIRST_KNOWN_CODE = 0, 1, 2
MAX_KNOWN_VALUES = 200
LARGEST_DEVIATION = 1e6
DATE_PARTS = ("day number", "year", "month", "day", "weekday")


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
        numbers = np.array(_convert(name, values, number_of, "a number"))
        return cls(name, required, *_center_and_scale(numbers), float(np.nanmin(numbers)), float(np.nanmax(numbers)))

    def encode(self, values: Sequence[Any]) -> np.ndarray:
        """float64 [N, 1]."""
        numbers = np.array(_convert(self.name, values, number_of, "a number"), dtype=np.float64)
        return _standardise(numbers, self.center, self.scale)[:, None]

    def describe(self) -> dict[str, Any]:
        return {"min": self.minimum, "max": self.maximum, "median": self.center, "default": self.center}


@dataclass(frozen=True)
class BooleanColumn(Column):
    common: bool
    type: ClassVar[str] = "boolean"

    @classmethod
    def fit(cls, name: str, required: bool, values: Sequence[Any]) -> BooleanColumn:
        truths = np.array(_convert(name, values, truth_of, "true or false"))
        return cls(name, required, bool(np.nansum(truths) > 0))

    def encode(self, values: Sequence[Any]) -> np.ndarray:
        """float64 [N, 1]: 1 is true, -1 is false."""
        return np.array(_convert(self.name, values, truth_of, "true or false"), dtype=np.float64)[:, None]

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
        parts = np.array([cls._parts(moment_of(value, date_format)) for value in values])
        spread = [_center_and_scale(part) for part in parts.T]
        first, last = (date.fromordinal(int(f(parts[:, 0]))).isoformat() for f in (np.nanmin, np.nanmax))
        return cls(name, required, date_format, [c for c, _ in spread], [s for _, s in spread], first, last)

    def encode(self, values: Sequence[Any]) -> np.ndarray:
        """float64 [N, 5]: day number, year, month, day, weekday."""
        shape = "such as 2024-05-31" if self.format == "iso" else f"written as {self.format}"
        moments = _convert(self.name, values, lambda value: moment_of(value, self.format), f"a date {shape}")
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
        times = Counter(loosely(value) for value in self.values)
        loose = {loosely(value): code for value, code in codes.items() if times[loosely(value)] == 1}
        object.__setattr__(self, "codes", codes)
        object.__setattr__(self, "loose_codes", loose)

    @property
    def missing_words(self) -> frozenset[str]:
        return NO_WORDS if self.keeps_words else MISSING_TOKENS

    @classmethod
    def fit(cls, name: str, required: bool, values: Sequence[Any], *, keeps_words: bool = False) -> CategoricalColumn:
        """Known values are those seen often enough to learn from, the most frequent first."""
        words = NO_WORDS if keeps_words else MISSING_TOKENS
        counts = Counter(_convert(name, [v for v in values if not is_missing(v, words)], text_of, "a text or a number"))
        rarest = 2 if len(values) < 1000 else 5
        known = [value for value, count in counts.most_common(MAX_KNOWN_VALUES) if count >= rarest]
        return cls(name, required, known, keeps_words)

    def _code(self, value: Any) -> int:
        if is_missing(value, self.missing_words):
            return MISSING_CODE
        text = text_of(value)
        code = self.codes.get(text)
        return self.loose_codes.get(loosely(text), UNKNOWN_CODE) if code is None else code

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


def wrong_type(name: str, value: Any, expected: str, position: int) -> ProgramFailure:
    shown = repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "..."
    message = f"Column {name!r} must be {expected}, but row {position + 1} has {shown}."
    return ProgramFailure("wrong_type", message, hint=f"Give {expected}, or leave the value empty.", field=name)


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
