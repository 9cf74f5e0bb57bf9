"""One hyper-parameter: its name, meaning, default and limits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from workers.pretrained.families import CheckpointRefused, read_name
from workers.training.task_groups import BY_STEPS

SCRATCH, PRETRAINED = "scratch", "pretrained"
Value = float | int | str | bool
LONGEST_NAME, LONGEST_LIST = 200, 4_000


class HyperparameterError(ValueError):
    """A setting that cannot be used: a stable `code`, a sentence, and the `field` it is about."""

    def __init__(self, field: str, code: str, message: str) -> None:
        super().__init__(message)
        self.field, self.code, self.message = field, code, message


@dataclass(frozen=True)
class Field:
    """One hyper-parameter. `type` is float, int, choice, bool, column: a name of one of the table's columns, or
    nothing; columns: several, apart by commas; text: any words, or none; language: the code of one that a checkpoint
    knows, or nothing; or checkpoint: what to start from, or nothing. Limits are inclusive.
    `start` is SCRATCH or PRETRAINED where it is only for trainings that begin so."""

    name: str
    label: str
    help: str
    type: str
    default: Value
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    tasks: tuple[str, ...] = BY_STEPS
    advanced: bool = False
    start: str = ""

    def is_for(self, start_from: str) -> bool:
        """Whether a training that starts from this checkpoint, or from none, has it."""
        return self.start in ("", PRETRAINED if start_from else SCRATCH)

    def check(self, value: Any) -> Value:
        """`value` in the field's own type. Raises HyperparameterError (wrong_type, out_of_range)."""
        checks = {
            "float": self._check_number,
            "int": self._check_number,
            "choice": self._check_choice,
            "column": self._check_column,
            "columns": self._check_columns,
            "text": self._check_text,
            "language": self._check_text,
            "checkpoint": self._check_checkpoint,
        }
        return checks.get(self.type, self._check_bool)(value)

    def _check_number(self, value: Any) -> Value:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self._wrong_type(value, "a whole number" if self.type == "int" else "a number")
        if self.type == "int" and value != _whole(value):
            raise self._wrong_type(value, "a whole number")
        if not math.isfinite(value) or not self.minimum <= value <= self.maximum:
            limits = f"between {_plain(self.minimum)} and {_plain(self.maximum)}"
            raise HyperparameterError(
                self.name, "out_of_range", f"{self.name} is {_plain(value)}; it must lie {limits}."
            )
        return int(value) if self.type == "int" else float(value)

    def _check_choice(self, value: Any) -> Value:
        if not isinstance(value, str):
            raise self._wrong_type(value, f"one of {', '.join(self.choices)}")
        if value not in self.choices:
            sentence = f"{self.name} is {value[:40]!r}; it must be one of {', '.join(self.choices)}."
            raise HyperparameterError(self.name, "out_of_range", sentence)
        return value

    def _check_column(self, value: Any) -> Value:
        """Whether the table has it is for those to say who have the table."""
        if not isinstance(value, str) or len(value) > LONGEST_NAME:
            raise self._wrong_type(value, "the name of a column, or empty")
        return value

    def _check_columns(self, value: Any) -> Value:
        if not isinstance(value, str) or len(value) > LONGEST_LIST:
            raise self._wrong_type(value, "names of columns apart by commas, or empty")
        return value

    def _check_text(self, value: Any) -> Value:
        """Whether a checkpoint knows a language is for those to say who have it."""
        if not isinstance(value, str) or len(value) > LONGEST_NAME or not value.isprintable():
            raise self._wrong_type(value, f"a text of at most {LONGEST_NAME} characters on one line, or empty")
        return value.strip()

    def _check_checkpoint(self, value: Any) -> Value:
        """Whether there is such a checkpoint is for those to say who have it."""
        if not isinstance(value, str):
            raise self._wrong_type(value, "the name of a checkpoint, or empty")
        if not value.strip():
            return ""
        try:
            return str(read_name(value))
        except CheckpointRefused as error:
            raise HyperparameterError(self.name, error.code, error.message) from error

    def _check_bool(self, value: Any) -> Value:
        if not isinstance(value, bool):
            raise self._wrong_type(value, "true or false")
        return value

    def _wrong_type(self, value: Any, expected: str) -> HyperparameterError:
        sentence = f"{self.name} is {repr(value)[:40]}; it must be {expected}."
        return HyperparameterError(self.name, "wrong_type", sentence)


def _whole(value: float) -> float:
    return math.trunc(value) if math.isfinite(value) else value


def _plain(number: float) -> str:
    """A number as people write it: 0.0000001 and not 1e-07."""
    if not math.isfinite(number):
        return repr(number)
    return format(Decimal(repr(int(number) if number == int(number) else number)), "f")
