"""The columns of a training that recommends: users, items, ratings, times and names. Pure."""

from typing import Any

from django.utils.translation import gettext as _

from apps.core.errors import Unprocessable
from apps.datasets.models import DatasetVersion
from workers.interactions import NO_COLUMN, Roles, find_roles

SUFFIX = "_column"
FIELDS = tuple(f"{role}{SUFFIX}" for role in Roles.__dataclass_fields__)
MAY_BE_NONE = ("rating_column", "time_column", "name_column")


def columns_of(version: DatasetVersion) -> list[str]:
    return [column["name"] for column in version.report.get("columns", [])]


def found_roles(version: DatasetVersion) -> Roles | None:
    """The columns that the check of the data has found, else those whose names say so."""
    found = version.report.get("interactions")
    return Roles.from_dict(found) if found else find_roles(columns_of(version))


def choices_for(version: DatasetVersion, field: str) -> list[tuple[str, str]]:
    """What a person can choose for one of `FIELDS`, the column that was found in front."""
    roles = found_roles(version)
    found = getattr(roles, field.removesuffix(SUFFIX)) if roles else None
    automatic = _("Automatic: %(column)s") % {"column": found} if found else _("Choose a column")
    none = [(NO_COLUMN, _("None"))] if field in MAY_BE_NONE and found else []
    if not found and field in MAY_BE_NONE:
        automatic = _("None")
    return [("", automatic), *none, *((name, name) for name in columns_of(version) if name != found)]


def settle_columns(version: DatasetVersion, settings: dict[str, Any]) -> dict[str, str]:
    """The columns by field as they will be read, `NO_COLUMN` where there is none. Raises Unprocessable."""
    roles, known = found_roles(version), columns_of(version)
    settled = {}
    for field in FIELDS:
        found = getattr(roles, field.removesuffix(SUFFIX)) if roles else None
        settled[field] = settings[field] or found or NO_COLUMN
    chosen = {field for field in FIELDS if settings[field]}
    for field in MAY_BE_NONE:  # what was chosen for one role is not taken by itself for another
        if field not in chosen and settled[field] in {settled[other] for other in FIELDS if other != field}:
            settled[field] = NO_COLUMN
    for field, name in settled.items():
        if name == NO_COLUMN and field not in MAY_BE_NONE:
            raise _refusal(_("Choose the columns of users and of items."), "no_user_column", field)
        if name != NO_COLUMN and name not in known:
            message = _('There is no column "%(name)s" in %(version)s. Its columns are: %(columns)s.')
            values = {"name": name, "version": version, "columns": ", ".join(known[:20])}
            raise _refusal(message % values, f"unknown_{field}", field)
    taken = [name for name in settled.values() if name != NO_COLUMN]
    for field, name in settled.items():
        if taken.count(name) > 1:
            message = _('The column "%(name)s" is chosen twice. Users, items, ratings, times and names need one each.')
            raise _refusal(message % {"name": name}, "same_column_twice", field)
    return settled


def _refusal(message: str, code: str, field: str) -> Unprocessable:
    return Unprocessable(message, code=code, field=field)


def target_of(settled: dict[str, str]) -> str:
    """What such a training predicts: the rating, or which item."""
    rating = settled["rating_column"]
    return settled["item_column"] if rating == NO_COLUMN else rating
