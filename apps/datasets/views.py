"""Pages of data."""

import uuid
from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Prefetch
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.text import slugify
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from apps.accounts.access import require_write
from apps.core.errors import DomainError, NotFound
from apps.core.files import blob_response
from apps.core.htmx import render_live
from apps.datasets import findings, preparing, preview, services, steps
from apps.datasets.forms import DatasetForm, VersionForm
from apps.datasets.models import Dataset, DatasetVersion, Upload
from apps.datasets.sending import arrived_files, sent_files
from apps.datasets.texts import upload_texts
from apps.resources.metering import metered
from apps.resources.storage_use import storage_bytes, storage_limit

PER_PAGE = 50
MAX_UNFINISHED = 20


@require_GET
def list_datasets(request: HttpRequest) -> HttpResponse:
    wanted = request.GET.get("q", "").strip()
    newest = DatasetVersion.objects.defer("report", "outputs")
    datasets = Dataset.objects.filter(team=request.team).prefetch_related(Prefetch("versions", newest))
    if wanted:
        datasets = datasets.filter(name__icontains=wanted.replace("\0", ""))
    page = Paginator(datasets, PER_PAGE).get_page(request.GET.get("page"))
    limit = storage_limit(request.team) if request.team else None
    used = storage_bytes(request.team) if request.team else 0
    context = {"page": page, "wanted": wanted, "used_bytes": used, "limit_bytes": limit}
    return render(request, "datasets/list.html", context)


def upload(request: HttpRequest) -> HttpResponse:
    """Upload files and make a data set of them, or the next version of one (?dataset=<id>)."""
    require_write(request)
    dataset = _dataset_to_extend(request)
    form_class = VersionForm if dataset else DatasetForm
    form = form_class(request.POST if request.method == "POST" else None)
    status = 200
    if request.method == "POST":
        if form.is_valid():
            try:
                return redirect(_address(_make_version(request, form, dataset)))
            except DomainError as error:
                form.add_error(error.field if error.field in ("name", "target") else None, error.message)
                status = error.status
        else:
            status = 422
    return render(request, "datasets/upload.html", _upload_context(request, form, dataset), status=status)


def _dataset_to_extend(request: HttpRequest) -> Dataset | None:
    wanted = request.GET.get("dataset")
    if not wanted:
        return None
    if not wanted.isdecimal() or len(wanted) > 18:
        raise Http404
    return get_object_or_404(Dataset, pk=wanted, team=request.team)


def _make_version(request: HttpRequest, form: VersionForm, dataset: Dataset | None) -> DatasetVersion:
    values = dict(form.cleaned_data)
    values["uploads"] = sent_files(request, values["uploads"])
    if dataset:
        return services.add_version(dataset=dataset, user=request.user, **values)
    return services.create_dataset(team=request.team, user=request.user, **values)


def _upload_context(request: HttpRequest, form: VersionForm, dataset: Dataset | None) -> dict:
    mine = Upload.objects.filter(team=request.team, created_by=request.user)
    arrived = arrived_files(request, form)
    unfinished = mine.filter(versionfile=None).exclude(pk__in=[each["id"] for each in arrived]).order_by("-updated_at")
    return {
        "form": form,
        "dataset": dataset,
        "arrived": arrived,
        "unfinished": unfinished[:MAX_UNFINISHED],
        "unfinished_count": unfinished.count(),
        "max_bytes": services.max_upload_bytes(),
        "kept_hours": services.UPLOAD_KEPT_HOURS,
        "splits": preview.split_choices(),
        "texts": upload_texts(),
    }


@require_POST
def discard_upload(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    require_write(request)
    services.abort_upload(upload=get_object_or_404(Upload, pk=pk, team=request.team))
    return redirect("datasets:upload")


@require_POST
def discard_unfinished(request: HttpRequest) -> HttpResponse:
    require_write(request)
    for each in Upload.objects.filter(team=request.team, created_by=request.user, versionfile=None):
        services.abort_upload(upload=each)
    return redirect("datasets:upload")


@require_GET
def show_dataset(request: HttpRequest, pk: int) -> HttpResponse:
    dataset = get_object_or_404(Dataset.objects.select_related("created_by"), pk=pk, team=request.team)
    versions = list(dataset.versions.defer("report", "outputs"))
    version = _chosen(request, dataset, versions)
    is_checking = version.status == DatasetVersion.Status.CHECKING
    job = version.jobs.order_by("-pk").first() if is_checking else None
    context = {"dataset": dataset, "versions": versions, "version": version, "job": job, **_shown(version)}
    partials = {"checking": "datasets/_checking.html"}
    response = render_live(request, "datasets/detail.html", context, partials=partials, is_live=is_checking)
    if request.htmx and not is_checking:
        response["HX-Refresh"] = "true"
    return response


def _chosen(request: HttpRequest, dataset: Dataset, versions: list[DatasetVersion]) -> DatasetVersion:
    number = request.GET.get("version") or (str(versions[0].number) if versions else "")
    if not number.isdecimal() or len(number) > 9:
        raise Http404
    found = DatasetVersion.objects.select_related("dataset", "created_by", "parent")
    return get_object_or_404(found, dataset=dataset, number=number)


def _shown(version: DatasetVersion) -> dict:
    """What the report says, in the form the templates need."""
    report = version.report
    return {
        "report": report,
        "classes": preview.class_rows(report, version.outputs),
        "spoken": preview.spoken(report, version.outputs),
        "max_classes": preview.MAX_CLASSES,
        "splits": preview.split_segments(report),
        "findings": findings.shown_findings(version),
        "steps": steps.shown_steps(version),
        "later_steps": steps.later_steps(version.kind, version.task),
        "columns": (report.get("columns") or [])[: preview.MAX_COLUMNS],
        "rows": preview.first_rows(report),
        "scripts": preview.scripts_of(report),
        "sides": preview.sides_of(report),
        "hours": preview.hours_of(report),
        "series_shown": preview.series_of(report),
        "text_column": (report.get("text") or {}).get("column") or report.get("pair"),
        "bad": (report.get("bad") or [])[: preview.FIRST_BAD],
        "more_bad": (report.get("bad") or [])[preview.FIRST_BAD :],
        "files": version.files.order_by("name")[: preview.FIRST_BAD],
        "file_count": version.files.count(),
        "download": next((name for name in ("data.zip", "data.csv") if name in version.outputs), ""),
    }


def _address(version: DatasetVersion) -> str:
    return f"{reverse('datasets:detail', args=[version.dataset_id])}?version={version.number}"


@require_POST
def accept_version(request: HttpRequest, pk: int, number: int) -> HttpResponse:
    require_write(request)
    version = services.accept_without_bad_items(version=_find_version(request, pk, number), user=request.user)
    messages.success(request, _("Version %(number)d is ready.") % {"number": version.number})
    return redirect(_address(version))


@require_POST
def act_on_finding(request: HttpRequest, pk: int, number: int, key: str) -> HttpResponse:
    """Make the next version as the button says, or let the finding be."""
    require_write(request)
    version = _find_version(request, pk, number)
    action = request.POST.get("action", "")
    if action in ("keep", "reopen"):
        preparing.keep_finding(version=version, key=key, is_kept=action == "keep")
        return redirect(_address(version))
    chosen = request.POST.getlist("item") if request.POST.get("scope") == "chosen" else None
    return _made_from(
        request, version, preparing.act_on_finding, user=request.user, key=key, action=action, items=chosen
    )


@require_POST
def redo(request: HttpRequest, pk: int, number: int) -> HttpResponse:
    """Make the next version without the steps that the form names."""
    require_write(request)
    version = _find_version(request, pk, number)
    return _made_from(
        request, version, preparing.redo_without, user=request.user, without=request.POST.getlist("without")
    )


def _made_from(
    request: HttpRequest, version: DatasetVersion, service: Callable[..., DatasetVersion], **values: Any
) -> HttpResponse:
    try:
        made = service(version=version, **values)
    except DomainError as error:
        messages.error(request, error.message)
        return redirect(_address(version))
    messages.success(
        request,
        _("Version %(number)d is being made. Version %(old)d stays as it is.")
        % {"number": made.number, "old": version.number},
    )
    return redirect(_address(made))


@require_POST
def delete_dataset(request: HttpRequest, pk: int) -> HttpResponse:
    require_write(request)
    dataset = get_object_or_404(Dataset, pk=pk, team=request.team)
    services.delete_dataset(dataset=dataset)
    messages.success(request, _("%(name)s is deleted.") % {"name": dataset.name})
    return redirect("datasets:list")


@require_GET
def thumbnail(request: HttpRequest, pk: int, number: int, sha256: str) -> HttpResponseBase:
    return _thumb(request, pk, number, sha256, ".png", "image/png")


@require_GET
def sound(request: HttpRequest, pk: int, number: int, sha256: str) -> HttpResponseBase:
    """An excerpt of a recording, encoded anew by the check."""
    return _thumb(request, pk, number, sha256, ".wav", "audio/wav")


def _thumb(
    request: HttpRequest, pk: int, number: int, sha256: str, ending: str, kind: str
) -> HttpResponseBase:  # fmt: skip
    outputs = _find_version(request, pk, number).outputs
    names = [name for name, file in outputs.items() if file["sha256"] == sha256]
    if not any(name.startswith("thumbs/") and name.endswith(ending) for name in names):
        raise NotFound(_("There is no such file in this version."))
    return metered(request, blob_response(request, sha256, f"{sha256[:12]}{ending}", kind, inline=True))


@require_GET
def download(request: HttpRequest, pk: int, number: int, name: str) -> HttpResponseBase:
    version = _find_version(request, pk, number)
    if name not in ("data.zip", "data.csv") or name not in version.outputs:
        raise NotFound(_("There is no such file in this version."))
    filename = f"{slugify(version.dataset.name) or 'data'}-v{number}.{name.rpartition('.')[2]}"
    return metered(request, blob_response(request, version.outputs[name]["sha256"], filename))


def _find_version(request: HttpRequest, pk: int, number: int) -> DatasetVersion:
    versions = DatasetVersion.objects.select_related("dataset")
    return get_object_or_404(versions, dataset_id=pk, dataset__team=request.team, number=number)
