"""Files that a page with a drop zone has sent: as finished uploads, or with the form itself."""

from collections.abc import Sequence

from django.http import HttpRequest

from apps.datasets.api import find_sources
from apps.datasets.forms import UploadsForm
from apps.datasets.models import Upload
from apps.datasets.services import receive_file


def sent_files(request: HttpRequest, uploads: Sequence[dict]) -> list[tuple[Upload, str]]:
    """The uploads that the form names, and the files that a browser without JavaScript sent with it; each with its
    split. Raises NotFound, and what an upload raises."""
    posted = [
        receive_file(team=request.team, user=request.user, name=file.name, size_bytes=file.size, blocks=file.chunks())
        for file in request.FILES.getlist("files")
    ]
    return [*find_sources(request.team, uploads), *((upload, "") for upload in posted)]


def arrived_files(request: HttpRequest, form: UploadsForm) -> list[dict]:
    """What the form names and need not be sent again, for the page that shows it once more."""
    sources = (form.cleaned_data.get("uploads") if form.is_bound else None) or []
    mine = Upload.objects.filter(team=request.team, created_by=request.user, status=Upload.Status.COMPLETE)
    found = mine.in_bulk([each["id"] for each in sources])
    return [
        {"id": each["id"], "name": found[each["id"]].name, "size": found[each["id"]].size_bytes, **each}
        for each in sources
        if each["id"] in found
    ]
