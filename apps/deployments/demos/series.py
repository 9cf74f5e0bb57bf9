"""Demos that forecast: a series that somebody pastes or uploads, or, for the team, one of the model's data."""

import csv
import io
import json
from typing import Any

from django.http import HttpRequest
from django.utils.translation import gettext as _

from apps.core.charts import series_chart
from apps.core.errors import Forbidden, TooLarge, Unprocessable
from apps.deployments.demos.asking import ask, is_member
from apps.deployments.models import Deployment
from apps.registry.figures import plain
from workers.inference.framing import JSON, Question
from workers.series import MOST_HISTORY

LONGEST_CELL = 10_000
LONGEST_TEXT = 2_000_000  # characters of a pasted or uploaded history
SHOWN_STEPS, SHOWN_HORIZONS = 60, 5  # of the past: so many steps, or so many times as far as is forecast
TIME, VALUE = "time", "value"


def prepare(request: HttpRequest, deployment: Deployment) -> dict[str, Any]:
    """What was asked so far. Names of series come out of the team's data, so only the team may go on with one."""
    facts = deployment.version.meta.get("input", {})
    may_continue = is_member(request, deployment)
    sent = request.POST
    return {
        "facts": facts,
        "may_continue": may_continue,
        "examples": facts.get("examples", []) if may_continue else [],
        "series": sent.get("series", ""),
        "history": sent.get("history", "")[:LONGEST_TEXT],
        "horizon": sent.get("horizon") or facts.get("horizon", ""),
        "columns": facts.get("columns_by_role", {}),
    }


def predict(request: HttpRequest, deployment: Deployment) -> dict[str, Any]:
    """Of the history that was sent, or of a series of the data, where the team asks."""
    facts = deployment.version.meta.get("input", {})
    past = max(SHOWN_STEPS, SHOWN_HORIZONS * facts.get("horizon", 0))
    asked: dict[str, Any] = {"horizon": _horizon(request), "history_steps": past}
    if request.POST.get("how") == "known":
        if not is_member(request, deployment):
            message = _("Only the team may go on with series of its data. Paste the values of your own.")
            raise Forbidden(message, code="members_only", field="series")
        if facts.get("series", 1) > 1:
            asked["series"] = request.POST.get("series", "").strip()
    else:
        asked |= read_history(_text(request), facts.get("columns_by_role", {}))
    found = ask(request, deployment, Question(JSON, json.dumps(asked).encode()))
    return found | {"chart": _chart(found["outcome"]), "rows": as_texts(found["outcome"]["forecast"])}


def as_texts(forecast: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Its numbers under each other, each with as many decimals as the finest of them needs."""
    names = ("value", "low", "high")
    told = [{name: plain(row[name]) for name in names} for row in forecast]
    texts = [text for row in told for text in row.values()]
    if not any("e" in text for text in texts):
        decimals = max((len(text.partition(".")[2]) for text in texts), default=0)
        told = [{name: f"{row[name]:,.{decimals}f}" for name in names} for row in forecast]
    return [{"time": row["time"], **each} for row, each in zip(forecast, told, strict=True)]


def _horizon(request: HttpRequest) -> int | None:
    """Raises Unprocessable."""
    text = request.POST.get("horizon", "").strip()
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 6:
        raise Unprocessable(_("The number of steps must be a whole number."), code="out_of_range", field="horizon")
    return int(text)


def _text(request: HttpRequest) -> str:
    """The file's, else what was pasted. Raises TooLarge, Unprocessable."""
    file = request.FILES.get("file")
    if file is not None and file.size > LONGEST_TEXT:
        raise TooLarge(_("The file is larger than %(n)d MB. Send the latest part.") % {"n": LONGEST_TEXT // 10**6})
    if file is not None:
        try:
            return file.read().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise Unprocessable(_("The file is not text in UTF-8. Save it as CSV."), code="wrong_encoding") from error
    return request.POST.get("history", "")[:LONGEST_TEXT]


def read_history(text: str, columns: dict[str, Any]) -> dict[str, Any]:
    """{"history": rows, "future": rows, "series": name} of a CSV: rows without a value say what is known beforehand.
    Its columns are called as the data's, or time and value; two columns need no header. Raises Unprocessable."""
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) < 2:
        message = _("Paste some times with their values first, one on each line.")
        raise Unprocessable(message, code="nothing_chosen", field="history")
    if len(lines) > MOST_HISTORY:
        message = _("These are %(n)d lines; at most %(most)d are read. Send the latest part.")
        raise TooLarge(message % {"n": len(lines), "most": MOST_HISTORY}, code="too_many_rows", field="history")
    delimiter = max(",;\t", key=lines[0].count)
    table = _read_table("\n".join(lines), delimiter)
    time, value = columns.get("time") or TIME, columns.get("target") or VALUE
    header = [name.strip() for name in table[0]]
    if not {time, TIME} & set(header):
        if len(header) != 2:
            message = _('The first line must name the columns, "%(time)s" and "%(value)s" among them.')
            raise Unprocessable(message % {"time": time, "value": value}, code="missing_column", field="history")
        is_header = not _is_number(header[1])
        header, table = [TIME, VALUE], table[1:] if is_header else table
    else:
        table = table[1:]
    rows = [dict(zip(header, (cell.strip() for cell in row), strict=False)) for row in table]
    named = {row.get(columns["series"], "") for row in rows} if columns.get("series") in header else set()
    if len(named) > 1:
        message = _("These are %(n)d series. Paste one at a time.") % {"n": len(named)}
        raise Unprocessable(message, code="several_series", field="history")
    own = value if value in header else VALUE
    future = [row for row in rows if not row.get(own)]
    found: dict[str, Any] = {"history": [row for row in rows if row.get(own)] or rows}
    return (
        found
        | ({"future": future} if future and len(future) < len(rows) else {})
        | ({"series": named.pop()} if named else {})
    )


def _read_table(text: str, delimiter: str) -> list[list[str]]:
    """Raises Unprocessable for a cell that no time or value fills, whatever limit the csv module has been given."""
    try:
        table = list(csv.reader(io.StringIO(text), delimiter=delimiter))
        is_damaged = any(len(cell) > LONGEST_CELL for row in table for cell in row)
    except csv.Error:
        is_damaged = True
    if is_damaged:
        message = _("A cell is longer than any time or value. See whether a quotation mark is left open.")
        raise Unprocessable(message, code="damaged_table", field="history")
    return table


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _chart(outcome: dict[str, Any]) -> str:
    """What js/series.js draws: the past, and the forecast from its last value on."""
    past, ahead = outcome.get("history", []), outcome["forecast"]
    times = [item["time"] for item in past + ahead]
    values = [item["value"] for item in past] + [None] * len(ahead)
    lines = {
        name: [None] * max(0, len(past) - 1) + [past[-1]["value"]] * bool(past) + [item[key] for item in ahead]
        for name, key in (("forecast", "value"), ("low", "low"), ("high", "high"))
    }
    return series_chart(times, values, **lines)
