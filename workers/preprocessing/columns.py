"""What stands in a table's columns: type and statistics, gathered chunk by chunk. Pure."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any

from workers.contract import TABULAR_CLASSIFICATION, TABULAR_REGRESSION
from workers.texts import UNSPACED_LETTER

NUMERIC, CATEGORICAL, BOOLEAN, TEXT, IDENTIFIER, DATE = (
    "numeric",
    "categorical",
    "boolean",
    "text",
    "identifier",
    "date",
)

# Values that mean "not known"; data.csv has an empty value in their place.
MISSING_VALUES = frozenset({"", "?", "NA", "N/A", "NaN", "nan", "null", "NULL", "None"})

BOOLEANS = ({"true", "false"}, {"yes", "no"}, {"t", "f"}, {"y", "n"}, {"0", "1"})
DATE_PATTERN = re.compile(
    r"(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{4})"
    r"(?:[T ]+\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?: ?[AP]M)?(?:Z|[+-]\d{2}:?\d{2})?)?",
    re.IGNORECASE,
)
ID_NAME = re.compile(r"(^|[^a-z])(id|uuid|guid|key|index)$")
CAMEL_ID = re.compile(r"[a-z](ID|Id)$")
FEW_VALUES = 50
SOME_VALUES = 20
FEW_INTEGERS = 30
MANY_WORDS = 4.0
LETTERS_PER_WORD = 2.0  # in scripts without blanks between words
SAMPLED_VALUES = 5_000
TOP = 10


def parse_number(value: str) -> float | None:
    """The finite number that `value` writes with digits, sign, point and exponent; None for anything else."""
    try:
        number = float(value)
    except ValueError:
        return None
    is_plain = value.isascii() and "_" not in value
    return number if is_plain and math.isfinite(number) else None


def is_number(value: str) -> bool:
    return parse_number(value) is not None


def shorten(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


@dataclass
class Column:
    """Running facts about one column. Beyond `max_distinct` distinct values new ones are no longer told apart."""

    name: str
    max_distinct: int
    counts: Counter[str] = field(default_factory=Counter)
    present: int = 0
    missing: int = 0
    is_full: bool = False
    share_when_full: float = 1.0
    numbers: int = 0
    is_integral: bool = True
    minimum: float = math.inf
    maximum: float = -math.inf
    total: float = 0.0
    first_word: str = ""

    def add(self, values: Iterable[str]) -> None:
        """Take in one chunk of values, missing ones as empty strings."""
        chunk = Counter(values)
        self.missing += chunk.pop("", 0)
        self.present += chunk.total()
        for value, count in chunk.items():
            self._add_number(value, count)
        if not self.is_full:
            self.counts.update(chunk)
            if len(self.counts) > self.max_distinct:
                self.is_full, self.share_when_full = True, len(self.counts) / self.present

    def _add_number(self, value: str, count: int) -> None:
        number = parse_number(value)
        if number is None:
            self.first_word = self.first_word or value
            return
        self.numbers += count
        self.total += number * count
        self.minimum, self.maximum = min(self.minimum, number), max(self.maximum, number)
        self.is_integral = self.is_integral and number.is_integer()

    @property
    def unique_share(self) -> float:
        if self.is_full:
            return self.share_when_full
        return len(self.counts) / self.present if self.present else 0.0

    @cached_property
    def type(self) -> str:
        """numeric, categorical, boolean, text, identifier or date; ask when all values are in."""
        if not self.present:
            return CATEGORICAL
        if len(self.counts) == 2 and {value.lower() for value in self.counts} in BOOLEANS:
            return BOOLEAN
        if self.numbers == self.present:
            return IDENTIFIER if self._is_id_by_name() and self.is_integral else NUMERIC
        if all(DATE_PATTERN.fullmatch(value) for value in self.counts):
            return DATE
        return self._type_of_words()

    def _is_id_by_name(self) -> bool:
        name = self.name.strip()
        is_named = bool(ID_NAME.search(name.lower()) or CAMEL_ID.search(name)) or name.lower().startswith("unnamed: 0")
        return is_named and self.unique_share > 0.95 and self.present >= SOME_VALUES

    def _type_of_words(self) -> str:
        distinct, share = len(self.counts), self.unique_share
        words = self._mean_words()
        is_one_word = words < MANY_WORDS and not any(" " in value for value in self.counts)
        if self.present >= SOME_VALUES and ((share == 1.0 and is_one_word) or self._is_id_by_name()):
            return IDENTIFIER
        if words >= MANY_WORDS and distinct > FEW_VALUES:
            return TEXT
        is_category = share <= 0.5 or (distinct <= FEW_VALUES and (share <= 0.9 or self.present < SOME_VALUES))
        return CATEGORICAL if is_category else TEXT

    def _mean_words(self) -> float:
        """In a different value, over the first of them."""
        values = list(islice(self.counts, SAMPLED_VALUES))
        unspaced = sum(len(UNSPACED_LETTER.findall(value)) for value in values if not value.isascii())
        return (sum(value.count(" ") + 1 for value in values) + unspaced / LETTERS_PER_WORD) / len(values)

    @property
    def mean_characters(self) -> float:
        """In a different value, over the first of them."""
        values = list(islice(self.counts, SAMPLED_VALUES))
        return sum(map(len, values)) / max(1, len(values))

    @property
    def non_numbers(self) -> int:
        return self.present - self.numbers

    def describe(self, value_chars: int) -> dict[str, Any]:
        """The column as it stands in report.json and index.json; min, max and mean are null unless numeric."""
        is_numeric = self.type == NUMERIC
        return {
            "name": self.name,
            "type": self.type,
            "missing": self.missing,
            "unique": len(self.counts),
            "unique_is_exact": not self.is_full,
            "min": self.minimum if is_numeric else None,
            "max": self.maximum if is_numeric else None,
            "mean": finite_or_none(self.total / self.numbers) if is_numeric else None,
            "top": [[shorten(value, value_chars), count] for value, count in self._top()],
        }

    def _top(self) -> list[tuple[str, int]]:
        """Most frequent values; equal counts in order of the value, whatever the order of the rows."""
        return sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))[:TOP]


def finite_or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


def guess_task(target: Column) -> str:
    """Regression for a numeric column with many values; few values, or few distinct integers, are classes."""
    if target.type != NUMERIC:
        return TABULAR_CLASSIFICATION
    distinct, share = len(target.counts), target.unique_share
    if target.is_integral:
        is_regression = distinct > FEW_INTEGERS or (distinct > SOME_VALUES and share > 0.5)
    else:
        is_regression = distinct > SOME_VALUES or (share > 0.5 and distinct > 2)
    return TABULAR_REGRESSION if is_regression else TABULAR_CLASSIFICATION
