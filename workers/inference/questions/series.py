"""What to forecast: ``{"series": "store 1", "horizon": 14}`` continues a series of the data, ``{"history": [{"time",
"value"}, ...]}`` one that is sent, and ``{"rows": [{"date": "...", "store": "..."}, ...]}`` asks for single times of
known series; or one tensor of names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from workers.contract import ProgramFailure
from workers.inference.framing import RAW, SAMPLE, Question
from workers.inference.questions.columns import as_texts, only
from workers.inference.questions.json_body import read_object, refuse_unknown
from workers.inference.tensors import Request
from workers.series import MOST_HISTORY

if TYPE_CHECKING:
    from workers.inference.forecast_predictor import Forecast, ForecastPredictor

FORM = '{"series": "...", "horizon": 10} or {"history": [{"time": "...", "value": 1}, ...]}'
KNOWN = ("series", "horizon", "history", "future", "history_steps", "rows")
MOST_ROWS, MOST_SERIES = 10_000, 256
LONGEST_HORIZON, MOST_PAST = 100_000, 5_000


def read(predictor: ForecastPredictor, question: Question) -> tuple[list[dict[str, Any]], bool]:
    """Raises ProgramFailure: invalid_request, wrong_content_type, unknown_field, too_many_rows, out_of_range."""
    if question.content == SAMPLE:
        return [predictor.sample], True
    if question.content == RAW:
        raise ProgramFailure("wrong_content_type", "The body is not JSON.", hint=f"Send {FORM}.")
    asked = read_object(question.body, FORM)
    refuse_unknown(asked, KNOWN)
    if "rows" in asked:
        return [{"at": row} for row in _rows(asked, "rows", MOST_ROWS)], False
    found: dict[str, Any] = {}
    if asked.get("series") is not None:
        found["series"] = _name(asked["series"])
    if "history" in asked:
        found["history"] = _rows(asked, "history", MOST_HISTORY)
    if "future" in asked:
        found["future"] = _rows(asked, "future", MOST_ROWS)
    found |= _whole_numbers(asked)
    return [found], True


def _rows(asked: Mapping[str, Any], field: str, most: int) -> list[dict[str, Any]]:
    rows = asked[field]
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise _invalid(f'"{field}" is not a list of objects.', field)
    if len(rows) > most:
        message = f"{len(rows):,} rows are too many for one request; at most {most:,} are read."
        raise ProgramFailure("too_many_rows", message, hint="Send the latest, or in parts.", field=field)
    return rows


def _name(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise _invalid('"series" is not the name of one.', "series")
    return str(value)


def _whole_numbers(asked: Mapping[str, Any]) -> dict[str, int]:
    found = {}
    for field, least, most in (("horizon", 1, LONGEST_HORIZON), ("history_steps", 0, MOST_PAST)):
        value = asked.get(field)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            message = f'"{field}" must be a whole number from {least} to {most:,}.'
            raise ProgramFailure("out_of_range", message, field=field)
        found[field] = value
    return found


def _invalid(message: str, field: str) -> ProgramFailure:
    return ProgramFailure("invalid_request", message, hint=f"Send {FORM}.", field=field)


def predict_tensors(predictor: ForecastPredictor, request: Request) -> list[Forecast]:
    """The whole horizon for each named series."""
    return predictor.predict([{"series": name} for name in as_texts(only(request), MOST_SERIES)])


def describe(facts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"name": "series", "datatype": "BYTES", "shape": [-1]}]
