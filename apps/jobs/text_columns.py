"""Which column of a table a model of texts reads."""

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _

from apps.core.errors import Unprocessable
from apps.datasets.models import DatasetVersion


def found_text_column(version: DatasetVersion, target: str) -> str:
    """The one that the check of the data has found to go with `target`: the texts, or the other side of a table of
    translations; "" where there is none."""
    report: Mapping[str, Any] = version.report
    if pair := report.get("pair"):
        sides = {pair["target"]["column"]: pair["source"]["column"], pair["source"]["column"]: pair["target"]["column"]}
        return sides.get(target, "")
    return (report.get("text") or {}).get("column", "")


def require_text_column(version: DatasetVersion, target: str, column: str, *, field: str) -> str:
    """The column that was asked for, else the one that the check of the data has found. Raises Unprocessable."""
    column = column or found_text_column(version, target)
    if not column or column == target:
        raise Unprocessable(
            _("Choose which column of %(version)s holds the texts; it must be another one than the target.")
            % {"version": version},
            code=f"no_{field}",
            field=field,
        )
    return require_column(version, column, field=field)


def require_column(version: DatasetVersion, name: str, *, field: str) -> str:
    """Raises Unprocessable where the table has no such column."""
    columns = [column["name"] for column in version.report.get("columns", [])]
    if name not in columns:
        raise Unprocessable(
            _('There is no column "%(name)s" in %(version)s. Its columns are: %(columns)s.')
            % {"name": name, "version": version, "columns": ", ".join(columns[:20])},
            code=f"unknown_{field}",
            field=field,
        )
    return name
