"""What programs name in their requests: data sets, models and versions, by id, name or number."""

from collections.abc import Mapping
from typing import Any

from django.db.models import QuerySet
from django.utils.translation import gettext as _
from rest_framework.request import Request

from apps.core.errors import Conflict, NotFound
from apps.datasets.models import Dataset, DatasetVersion
from apps.registry.models import ModelVersion, RegisteredModel


def find_by_id_or_name(rows: QuerySet, reference: int | str, field: str):
    """The row with this id (a number), or this name; a text of digits is a name first. Raises NotFound."""
    found = rows.filter(name=reference).first() if isinstance(reference, str) else None
    if found is None and len(str(reference)) < 19 and str(reference).isdecimal():
        found = rows.filter(pk=int(reference)).first()
    if found is None:
        message = _('Your team has no %(field)s "%(reference)s".') % {"field": field, "reference": reference}
        raise NotFound(message, field=field)
    return found


def data_version(dataset: Dataset, number: int | None) -> DatasetVersion:
    """The version asked for, or the newest that is ready."""
    if number is not None:
        return numbered(dataset.versions, number, str(dataset))
    version = dataset.versions.filter(status=DatasetVersion.Status.READY).order_by("-number").first()
    if version is None:
        raise Conflict(
            _("%(dataset)s has no version that is ready to train on.") % {"dataset": dataset}, code="data_not_ready"
        )
    return version


def version_of(model: RegisteredModel, number: int | None) -> ModelVersion:
    """The version asked for, or the newest."""
    if number is not None:
        return numbered(model.versions, number, model.name)
    version = model.versions.order_by("-number").first()
    if version is None:
        raise NotFound(_("%(model)s has no version.") % {"model": model.name}, field="model")
    return version


def uncompressed(request: Request, reference: Mapping[str, Any]) -> ModelVersion:
    """The version {"model", "version"} stands for; without a number the newest that is not compressed."""
    model = find_by_id_or_name(RegisteredModel.objects.filter(team=request.team), reference["model"], "model")
    number = reference.get("version")
    return numbered(model.versions, number, model.name) if number else newest_uncompressed(model)


def newest_uncompressed(model: RegisteredModel) -> ModelVersion:
    for version in model.versions.order_by("-number"):
        if "compression" not in version.meta:
            return version
    raise NotFound(_("%(model)s has no version that is not compressed.") % {"model": model.name}, field="model")


def numbered(versions: QuerySet, number: int, name: str):
    version = versions.filter(number=number).first()
    if version is None:
        message = _("%(name)s has no version %(number)d.") % {"name": name, "number": number}
        raise NotFound(message, field="version")
    return version
