"""The columns of a training that forecasts: times, names of series, and what is known beforehand. Pure."""

from typing import Any

from django.utils.translation import gettext as _

from apps.core.errors import Unprocessable
from apps.datasets.models import DatasetVersion
from workers.series.columns import NO_COLUMN, TIME_NAME, plain, split_names

FIELDS = ("time_column", "series_column")
SHOWN = (*FIELDS, "horizon", "known_columns")  # beside the choice of the task


def columns_of(version: DatasetVersion) -> list[str]:
    return [column["name"] for column in version.report.get("columns", [])]


def found_column(version: DatasetVersion, field: str, target: str) -> str:
    """The column that the check of the data has found for one of `FIELDS`, else for times one whose name says so; ""
    where there is none."""
    role = field.removesuffix("_column")
    if found := version.report.get("series"):
        return found.get(role) or ""
    if role == "series":
        return ""
    return next((name for name in columns_of(version) if name != target and TIME_NAME.fullmatch(plain(name))), "")


def choices_for(version: DatasetVersion, field: str, target: str) -> list[tuple[str, str]]:
    """What a person can choose for one of `FIELDS`, the column that was found in front."""
    found = found_column(version, field, target)
    automatic = _("Automatic: %(column)s") % {"column": found} if found else _("Choose a column")
    none = [(NO_COLUMN, _("None: it is one series"))] if field == "series_column" and found else []
    if field == "series_column" and not found:
        automatic = _("None: it is one series")
    others = [(name, name) for name in columns_of(version) if name not in (found, target)]
    return [("", automatic), *none, *others]


def settle_columns(version: DatasetVersion, target: str, settings: dict[str, Any]) -> dict[str, str]:
    """The columns by field as they will be read, `NO_COLUMN` where there is none. Raises Unprocessable."""
    known = columns_of(version)
    settled = {field: settings[field] or found_column(version, field, target) or NO_COLUMN for field in FIELDS}
    if settled["series_column"] in (target, settled["time_column"]) and not settings["series_column"]:
        settled["series_column"] = NO_COLUMN
    if settled["time_column"] == NO_COLUMN:
        raise Unprocessable(_("Choose the column that holds the times."), code="no_time_column", field="time_column")
    for field, name in settled.items():
        if name != NO_COLUMN and name not in known:
            raise _unknown(version, name, field)
    taken = [target, *(name for name in settled.values() if name != NO_COLUMN)]
    for field, name in settled.items():
        if taken.count(name) > 1:
            message = _('The column "%(name)s" is chosen twice. Times, values and names of series need one each.')
            raise Unprocessable(message % {"name": name}, code="same_column_twice", field=field)
    if stray := next((name for name in split_names(settings["known_columns"]) if name not in known), ""):
        raise _unknown(version, stray, "known_columns")
    return settled


def _unknown(version: DatasetVersion, name: str, field: str) -> Unprocessable:
    message = _('There is no column "%(name)s" in %(version)s. Its columns are: %(columns)s.')
    values = {"name": name, "version": version, "columns": ", ".join(columns_of(version)[:20])}
    return Unprocessable(message % values, code=f"unknown_{field}", field=field)
