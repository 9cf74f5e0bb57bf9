"""The page of a deployment's request log, its settings and its download."""

import csv
import json
from collections.abc import Iterator
from io import StringIO

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_GET, require_POST

from apps.accounts.access import require_write
from apps.core.errors import Unprocessable
from apps.core.files import Streamed
from apps.deployments.forms import RequestLogForm
from apps.deployments.models import Deployment, LoggedRequest
from apps.deployments.request_log import as_row, clear_request_log, input_text, set_request_log
from apps.deployments.samples import PICTURES, data_uri
from apps.resources.metering import metered
from workers.spreadsheets import harmless

PAGE_SIZE = 25
CSV, JSON_LINES = "csv", "jsonl"
COLUMNS = ("at", "version", "verb", "status", "seconds", "input_bytes", "input", "answer")


def _deployment(request: HttpRequest, pk: int) -> Deployment:
    return get_object_or_404(Deployment.objects.filter(team=request.team).select_related("version__model"), pk=pk)


@require_GET
def log(request: HttpRequest, pk: int) -> HttpResponse:
    deployment = _deployment(request, pk)
    page = Paginator(deployment.logged_requests.all(), PAGE_SIZE).get_page(request.GET.get("page"))
    for row in page:
        row.input_text = input_text(row)
        row.picture = "" if row.input_text or row.input is None else data_uri(bytes(row.input), PICTURES)
    form = RequestLogForm(
        initial={
            "percent": deployment.logged_percent,
            "days": deployment.logged_days,
            "has_inputs": deployment.logs_inputs,
        }
    )
    return render(request, "deployments/requests.html", {"deployment": deployment, "page": page, "form": form})


@require_POST
def rules(request: HttpRequest, pk: int) -> HttpResponse:
    """What is written down from now on: `percent`, `days`, `has_inputs`."""
    require_write(request)
    form = RequestLogForm(request.POST)
    if not form.is_valid():
        told = [f"{form.fields[name].label}: {errors[0]}" for name, errors in form.errors.items()]
        raise Unprocessable(" ".join(told), field=next(iter(form.errors)))
    set_request_log(deployment=_deployment(request, pk), user=request.user, **form.cleaned_data)
    messages.success(request, _("Saved. It holds within a second."))
    return redirect("deployments:requests", pk)


@require_POST
def clear(request: HttpRequest, pk: int) -> HttpResponse:
    require_write(request)
    count = clear_request_log(deployment=_deployment(request, pk), user=request.user)
    text = ngettext("%(n)d logged request is deleted.", "%(n)d logged requests are deleted.", count)
    messages.success(request, text % {"n": count})
    return redirect("deployments:requests", pk)


@require_GET
def download(request: HttpRequest, pk: int, kind: str) -> HttpResponseBase:
    """All that is kept, oldest first, as `kind` csv or jsonl."""
    deployment = _deployment(request, pk)
    if kind not in (CSV, JSON_LINES):
        raise Http404
    rows = deployment.logged_requests.order_by("id")
    blocks = _csv_blocks(rows) if kind == CSV else _json_blocks(rows)
    response = Streamed(blocks, content_type="text/csv" if kind == CSV else "application/x-ndjson")
    response["Content-Disposition"] = f'attachment; filename="{deployment.name}-requests.{kind}"'
    response["X-Content-Type-Options"] = "nosniff"
    return metered(request, response)


def _csv_blocks(rows: QuerySet[LoggedRequest]) -> Iterator[bytes]:
    yield (",".join(COLUMNS) + "\r\n").encode()
    for row in rows.iterator(chunk_size=500):
        text = StringIO()
        told = as_row(row)
        cells = [told[name] for name in COLUMNS]
        csv.writer(text).writerow([harmless(cell) if isinstance(cell, str) else cell for cell in cells])
        yield text.getvalue().encode()


def _json_blocks(rows: QuerySet[LoggedRequest]) -> Iterator[bytes]:
    for row in rows.iterator(chunk_size=500):
        yield json.dumps(as_row(row), ensure_ascii=False).encode() + b"\n"
