"""What stands in a cell of a table: numbers, texts, truths and moments as CSV files and JSON clients write them, and
which cells have no value."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np

MISSING_TOKENS = frozenset({"", "?", "NA", "N/A", "NaN", "nan", "null", "None"})
NO_WORDS = frozenset({""})  # where "NA" is a value like any other
TRUE_WORDS = frozenset({"true", "yes", "y", "t", "on", "1"})
FALSE_WORDS = frozenset({"false", "no", "n", "f", "off", "0"})
DATE_FORMATS = ("iso", "%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y%m%d")


def is_missing(value: Any, words: Container[str] = MISSING_TOKENS) -> bool:
    """Whether a cell has no value: None, NaN, or one of `words` with blanks around it."""
    if isinstance(value, str):
        return value.strip() in words
    return value is None or (isinstance(value, float) and math.isnan(value))


def missing_words(index: Mapping[str, Any]) -> frozenset[str]:
    """The words that mean "not known" in a frozen table, by its index.json."""
    return MISSING_TOKENS if index.get("missing_words", True) else NO_WORDS


def number_of(value: Any) -> float:
    """`value` as a finite float or NaN where it is missing. Raises ValueError when it is no number."""
    if isinstance(value, bool) or (value is not None and not isinstance(value, (int, float, str, np.number))):
        raise ValueError(value)
    if isinstance(value, str):
        value = value.strip()
    if is_missing(value):
        return math.nan
    number = float(value)
    return number if math.isfinite(number) else math.nan


def text_of(value: Any) -> str:
    """One spelling for a category: 3, 3.0 and " 3" are all "3"."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, (str, int, float, np.number)):
        raise ValueError(value)
    return str(value).strip()


def loosely(text: str) -> str:
    """A spelling to fall back to when the exact one is unknown: numbers by value, words without case."""
    try:
        return repr(float(text))
    except ValueError:
        return text.casefold()


def truth_of(value: Any) -> float:
    if isinstance(value, (bool, np.bool_)):
        return 1.0 if value else -1.0
    if is_missing(value):
        return math.nan
    word = text_of(value).casefold()
    if word in TRUE_WORDS:
        return 1.0
    if word in FALSE_WORDS:
        return -1.0
    raise ValueError(value)


def moment_of(value: Any, date_format: str) -> datetime | None:
    if is_missing(value):
        return None
    if not isinstance(value, str):
        raise ValueError(value)
    if date_format == "iso":
        return datetime.fromisoformat(value.strip())
    return datetime.strptime(value.strip(), date_format)


def find_date_format(values: Sequence[Any]) -> str | None:
    """The first of `DATE_FORMATS` that reads every value, or None."""
    for date_format in DATE_FORMATS:
        try:
            for value in values:
                moment_of(value, date_format)
        except ValueError:
            continue
        return date_format
    return None


def is_boolean(values: Sequence[Any]) -> bool:
    try:
        for value in values:
            truth_of(value)
    except ValueError:
        return False
    return True
