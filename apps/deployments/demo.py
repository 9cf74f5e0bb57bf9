"""The demo page: one task, one big input, one clear answer. Public when its deployment is; else for the team alone."""

import base64
import json
import time
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.core.cache import cache
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from apps.core.errors import DomainError, QuotaExceeded, TooLarge, TooManyRequests, Unprocessable
from apps.core.storage import open_blob
from apps.deployments.admission import check_address, to_networks
from apps.deployments.endpoints import ask_endpoint, endpoint_of
from apps.deployments.forms import RowForm, plain_number
from apps.deployments.holding import hold_page
from apps.deployments.models import Deployment
from apps.deployments.placing import with_replicas
from apps.deployments.services import state_of
from apps.registry.models import ModelVersion
from apps.resources.metering import METER, PREDICTION, check_egress
from workers.contract import IMAGE_CLASSIFICATION, TEXT_CLASSIFICATION
from workers.inference.framing import JSON, RAW, SAMPLE, Frame, Question

TOP_K = 5
RATE = 30
TEXT_RATE = 120  # a text is asked about again whenever its writer rests
RATE_SECONDS = 60
FORM_OVERHEAD_BYTES = 64 * 1024
PREVIEW_BYTES = 4 * 2**20
IMAGE, TABLE, TEXT = "image", "table", "text"
SIGNATURES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif", b"RIFF": "image/webp"}


@login_not_required
@require_http_methods(["GET", "POST"])
def page(request: HttpRequest, team: str, name: str) -> HttpResponse:
    deployment = find_demo(request, team, name)
    check_address(to_networks(deployment.allowed_networks), request.META.get("REMOTE_ADDR", ""))
    kind = input_kind(deployment.version)
    context = {"deployment": deployment, "kind": kind, "state": state_of(deployment)}
    context |= PREPARE[kind](request, deployment)
    if request.method == "GET":
        return render(request, "deployments/demo.html", context)
    limit_rate(request, TEXT_RATE if kind == TEXT else RATE)
    try:
        _check_egress(deployment)
        context |= PREDICT[kind](request, deployment)
        status = 200
    except DomainError as error:
        context, status = {**context, "error": error}, error.status
    return _metered(deployment, _answer(request, context, status))


def _answer(request: HttpRequest, context: dict[str, Any], status: int) -> HttpResponse:
    """The result alone for htmx, a refusal in the same place; the page for everyone else."""
    template = "deployments/_result.html" if request.htmx else "deployments/demo.html"
    response = render(request, template, context, status=status)
    response["HX-Retarget"], response["HX-Reswap"] = "#result", "outerHTML"
    return response


def _check_egress(deployment: Deployment) -> None:
    """Strangers are told that nothing is answered, and not how much the team has sent. Raises QuotaExceeded."""
    try:
        check_egress(deployment.team_id)
    except QuotaExceeded as error:
        raise QuotaExceeded(_("This demo has answered as much as it may this month. Come back next month.")) from error


def _metered(deployment: Deployment, response: HttpResponse) -> HttpResponse:
    METER.add(deployment.team_id, PREDICTION, len(response.content))
    return response


def find_demo(request: HttpRequest, team: str, name: str) -> Deployment:
    """The deployment, if its demo is public or the person is in its team; for everybody else there is nothing."""
    deployment = get_object_or_404(with_replicas(Deployment.objects.all()), team__slug=team, name=name)
    if not deployment.is_public and not _is_member(request, deployment):
        raise Http404
    return deployment


def _is_member(request: HttpRequest, deployment: Deployment) -> bool:
    return any(membership.team_id == deployment.team_id for membership in request.memberships)


def input_kind(version: ModelVersion) -> str:
    return {IMAGE_CLASSIFICATION: IMAGE, TEXT_CLASSIFICATION: TEXT}.get(version.model.task, TABLE)


def limit_rate(request: HttpRequest, most: int) -> None:
    """At most so many predictions a minute from one address that is not signed in. Raises TooManyRequests."""
    if request.user.is_authenticated:
        return
    minute = int(time.time() // RATE_SECONDS)
    counter = f"demo:{request.META.get('REMOTE_ADDR', '')}:{minute}"
    cache.add(counter, 0, RATE_SECONDS)
    try:
        count = cache.incr(counter)
    except ValueError:  # it expired between the two calls
        return
    if count > most:
        message = _("That was %(n)d predictions in a minute. Wait a moment, then go on.") % {"n": most}
        raise TooManyRequests(message, retry_after_seconds=RATE_SECONDS)


# Pictures


def _prepare_image(request: HttpRequest, deployment: Deployment) -> dict[str, Any]:
    """The sample picture, shown on its button."""
    artifact = deployment.version.artifacts.filter(name=deployment.version.meta.get("sample")).first()
    if artifact is None or artifact.size_bytes > PREVIEW_BYTES:
        return {}
    with open_blob(artifact.sha256) as file:
        return {"sample_uri": data_uri(file.read())}


def _predict_image(request: HttpRequest, deployment: Deployment) -> dict[str, Any]:
    limit = settings.LEPTON_MAX_PREDICT_BYTES
    if int(request.META.get("CONTENT_LENGTH") or 0) > limit + FORM_OVERHEAD_BYTES:
        raise TooLarge(_("The image is larger than %(n)d MB. Choose a smaller one.") % {"n": limit // 10**6})
    if "sample" in request.POST:
        return _outcome(deployment, Question(SAMPLE, top_k=TOP_K)) | {"is_sample": True}
    file = request.FILES.get("file")
    if file is None:
        raise Unprocessable(_("Choose an image first."), code="missing_file", field="file")
    body = file.read()
    return _outcome(deployment, Question(RAW, body, TOP_K)) | {"preview": data_uri(body)}


def data_uri(body: bytes) -> str:
    """The picture for the page that is shown without JavaScript; empty where browsers do not show its kind."""
    kind = next((kind for head, kind in SIGNATURES.items() if body.startswith(head)), "")
    if not kind or len(body) > PREVIEW_BYTES:
        return ""
    return f"data:{kind};base64,{base64.b64encode(body).decode()}"


# Tables


def _prepare_row(request: HttpRequest, deployment: Deployment) -> dict[str, Any]:
    columns = input_columns(deployment.version)
    data = request.POST if request.method == "POST" and "sample" not in request.POST else None
    return {"form": RowForm(data, columns=columns, initial=RowForm.example(columns))}


def _predict_row(request: HttpRequest, deployment: Deployment) -> dict[str, Any]:
    columns = input_columns(deployment.version)
    if "sample" in request.POST:
        row = sample_row(deployment.version)
        form = RowForm(columns=columns, initial=RowForm.example(columns, row))
        return _outcome(deployment, Question(SAMPLE, top_k=TOP_K)) | {"form": form, "is_sample": True}
    form = RowForm(request.POST, columns=columns)
    if not form.is_valid():
        name, errors = next(iter(form.errors.items()))
        raise Unprocessable(f"{form.fields[name].label}: {errors[0]}", code="wrong_type")
    question = Question(JSON, json.dumps({"row": form.row()}).encode(), TOP_K)
    return _outcome(deployment, question) | {"form": form}


def input_columns(version: ModelVersion) -> list[dict[str, Any]]:
    return version.meta.get("input", {}).get("columns", [])


def sample_row(version: ModelVersion) -> dict[str, Any]:
    """The row the model came with."""
    return {column["name"]: column.get("example") for column in input_columns(version)}


# Texts


def _prepare_text(request: HttpRequest, deployment: Deployment) -> dict[str, Any]:
    """What was written so far. Examples come out of the team's data, so only the team sees them."""
    examples = sample_texts(deployment.version) if _is_member(request, deployment) else []
    return {"text": request.POST.get("text", ""), "examples": examples}


def _predict_text(request: HttpRequest, deployment: Deployment) -> dict[str, Any]:
    text = request.POST.get("text", "")
    if request.htmx and not text.strip():
        return {}  # it was deleted again
    return _outcome(deployment, Question(RAW, text.encode("utf-8", "replace"), TOP_K))


def sample_texts(version: ModelVersion) -> list[str]:
    """Held-out texts that the model came with."""
    return version.meta.get("input", {}).get("examples", [])


# All

PREPARE = {IMAGE: _prepare_image, TABLE: _prepare_row, TEXT: _prepare_text}
PREDICT = {IMAGE: _predict_image, TABLE: _predict_row, TEXT: _predict_text}


def sample_input(version: ModelVersion) -> Any:
    """What the snippets send: a row, a text, or the name of the file with the sample picture."""
    match input_kind(version):
        case "image":
            return str(version.meta.get("sample") or "")
        case "text":
            return next(iter(sample_texts(version)), "")
        case _:
            return sample_row(version)


def _outcome(deployment: Deployment, question: Question) -> dict[str, Any]:
    """Ask a replica as the gateway does. Raises DomainError with what the replica found wrong."""
    endpoint = endpoint_of(deployment)
    if endpoint.may_sleep and not endpoint.routes:
        endpoint = hold_page(deployment)
    frame = ask_endpoint(endpoint, question)
    payload = json.loads(frame.body)
    if frame.status != 200:
        raise _refusal(frame, payload)
    return {
        "outcome": payload,
        "value": plain_number(payload["value"]) if "value" in payload else "",
        "milliseconds": frame.head["seconds"] * 1000,
    }


def _refusal(frame: Frame, payload: dict[str, Any]) -> DomainError:
    error = DomainError(payload["error"]["message"], code=payload["error"]["code"])
    error.status = frame.status
    return error
