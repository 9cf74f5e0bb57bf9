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
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods

from apps.core.errors import DomainError, Forbidden, QuotaExceeded, TooLarge, TooManyRequests, Unprocessable
from apps.core.storage import open_blob
from apps.deployments.admission import EXPLANATION_WEIGHT, check_address, to_networks
from apps.deployments.endpoints import ask_endpoint, endpoint_of
from apps.deployments.explained import read_explanation
from apps.deployments.forms import RowForm, plain_number
from apps.deployments.holding import hold_page
from apps.deployments.models import Deployment
from apps.deployments.pages import CHAT, reply_to
from apps.deployments.placing import with_replicas
from apps.deployments.services import state_of
from apps.registry.models import ModelVersion
from apps.resources.metering import METER, PREDICTION, check_egress
from workers.contract import (
    AUDIO_CLASSIFICATION,
    IMAGE_CLASSIFICATION,
    RECOMMENDATION,
    TABULAR_CLASSIFICATION,
    TABULAR_REGRESSION,
    TEXT_CLASSIFICATION,
    TRANSLATION,
)
from workers.domains import AUDIO, IMAGE, TABLE, TASKS, TEXT, USER
from workers.inference.framing import JSON, RAW, SAMPLE, Frame, Question

TOP_K = 5
SHOWN_ITEMS, LIST_LENGTH = 18, 10  # things to choose from, and things that are recommended
RATE = 30
INVITATIONS = {
    IMAGE_CLASSIFICATION: gettext_lazy("Give it an image, and it says what it shows."),
    AUDIO_CLASSIFICATION: gettext_lazy("Let it hear something, and it says what it is."),
    TEXT_CLASSIFICATION: gettext_lazy("Write something, and it says what it is about."),
    TRANSLATION: gettext_lazy("Write something, and it says it in the other language."),
    RECOMMENDATION: gettext_lazy("Say what you like, and it says what you may like as well."),
    TABULAR_CLASSIFICATION: gettext_lazy("Fill in a row, and it says which class it is."),
    TABULAR_REGRESSION: gettext_lazy("Fill in a row, and it estimates the value."),
}
FORMS = {TRANSLATION: "deployments/demo_translation.html"}  # of tasks that have one of their own
TEXT_RATE = 120  # a text is asked about again whenever its writer rests
RATE_SECONDS = 60
FORM_OVERHEAD_BYTES = 64 * 1024
PREVIEW_BYTES = 4 * 2**20
EXAMPLE_PREFIX = "example-"
PICTURES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif", b"RIFF": "image/webp"}
SOUNDS = {
    b"RIFF": "audio/wav",
    b"fLaC": "audio/flac",
    b"OggS": "audio/ogg",
    b"ID3": "audio/mpeg",
    b"\xff": "audio/mpeg",
}


@login_not_required
@require_http_methods(["GET", "POST"])
def page(request: HttpRequest, team: str, name: str) -> HttpResponse:
    deployment = find_demo(request, team, name)
    check_address(to_networks(deployment.allowed_networks), request.META.get("REMOTE_ADDR", ""))
    kind = deployment.page or input_kind(deployment.version)
    context = {
        "deployment": deployment,
        "kind": kind,
        "invitation": "" if kind == CHAT else INVITATIONS[deployment.version.model.task],
        "form_template": FORMS.get(deployment.version.model.task, f"deployments/demo_{kind}.html"),
        "is_translation": deployment.version.model.task == TRANSLATION,
        "state": state_of(deployment),
        "may_explain": bool(TASKS[deployment.version.model.task].explainer),
    }
    context |= PREPARE[kind](request, deployment)
    if request.method == "GET":
        return render(request, "deployments/demo.html", context)
    weight = EXPLANATION_WEIGHT if is_explanation(request) else 1
    limit_rate(request, TEXT_RATE if kind in (TEXT, CHAT) else RATE, weight)
    try:
        _check_egress(deployment)
        context |= PREDICT[kind](request, deployment)
        status = 200
    except DomainError as error:
        context, status = {**context, "error": error}, error.status
    return _metered(deployment, _answer(request, context, status))


def _answer(request: HttpRequest, context: dict[str, Any], status: int) -> HttpResponse:
    """The result alone for htmx, a refusal in the same place; the page for everyone else."""
    is_chat = context["kind"] == CHAT
    partial = "deployments/_chat_turn.html" if is_chat else "deployments/_result.html"
    response = render(request, partial if request.htmx else "deployments/demo.html", context, status=status)
    where, how = ("#chat-log", "beforeend show:bottom") if is_chat else ("#result", "outerHTML")
    response["HX-Retarget"], response["HX-Reswap"] = where, how
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
    return TASKS[version.model.task].asks


def is_explanation(request: HttpRequest) -> bool:
    """Whether the page asks for more than the answer."""
    return "explain" in request.POST


def limit_rate(request: HttpRequest, most: int, weight: int = 1) -> None:
    """At most so many predictions a minute from one address that is not signed in; this counts as `weight` of them.
    Raises TooManyRequests."""
    if request.user.is_authenticated:
        return
    minute = int(time.time() // RATE_SECONDS)
    counter = f"demo:{request.META.get('REMOTE_ADDR', '')}:{minute}"
    cache.add(counter, 0, RATE_SECONDS)
    try:
        count = cache.incr(counter, weight)
    except ValueError:  # it expired between the two calls
        return
    if count > most:
        message = _("That was %(n)d predictions in a minute. Wait a moment, then go on.") % {"n": most}
        raise TooManyRequests(message, retry_after_seconds=RATE_SECONDS)


# Pictures and recordings


def _prepare_image(request: HttpRequest, deployment: Deployment) -> dict[str, Any]:
    """The sample picture, shown on its button."""
    return _sample(deployment, PICTURES)


def _prepare_audio(request: HttpRequest, deployment: Deployment) -> dict[str, Any]:
    """The sample and the examples come out of the team's data, so only the team hears them."""
    if not _is_member(request, deployment):
        return {}
    return _sample(deployment, SOUNDS) | {"examples": sample_recordings(deployment.version)}


def _sample(deployment: Deployment, kinds: dict[bytes, str]) -> dict[str, Any]:
    artifact = deployment.version.artifacts.filter(name=deployment.version.meta.get("sample")).first()
    if artifact is None or artifact.size_bytes > PREVIEW_BYTES:
        return {}
    with open_blob(artifact.sha256) as file:
        return {"sample_uri": data_uri(file.read(), kinds)}


def _predict_image(request: HttpRequest, deployment: Deployment) -> dict[str, Any]:
    return _predict_file(request, deployment, PICTURES, _("Choose an image first."))


def _predict_audio(request: HttpRequest, deployment: Deployment) -> dict[str, Any]:
    if "example" in request.POST:
        return _predict_example(request, deployment)
    return _predict_file(request, deployment, SOUNDS, _("Record something, or choose a file first."))


def _predict_file(
    request: HttpRequest, deployment: Deployment, kinds: dict[bytes, str], missing: str
) -> dict[str, Any]:  # fmt: skip
    """`missing` says what to do where no file was sent."""
    limit = settings.LEPTON_MAX_PREDICT_BYTES
    if int(request.META.get("CONTENT_LENGTH") or 0) > limit + FORM_OVERHEAD_BYTES:
        raise TooLarge(_("The file is larger than %(n)d MB. Choose a smaller one.") % {"n": limit // 10**6})
    if "sample" in request.POST or request.POST.get("explain") == "sample":
        return _outcome(request, deployment, Question(SAMPLE, top_k=TOP_K)) | {"is_sample": True}
    file = request.FILES.get("file")
    if file is None:
        raise Unprocessable(missing, code="missing_file", field="file")
    body = file.read()
    return _outcome(request, deployment, Question(RAW, body, TOP_K)) | {"preview": data_uri(body, kinds)}


def _predict_example(request: HttpRequest, deployment: Deployment) -> dict[str, Any]:
    """One of the held-out recordings that the model came with."""
    name = request.POST["example"]
    known = sample_recordings(deployment.version) if _is_member(request, deployment) else []
    example = next((item for item in known if item["file"] == name), None)
    if example is None:
        raise Unprocessable(_("There is no such example."), code="unknown_example", field="example")
    with open_blob(example["sha256"]) as file:
        body = file.read()
    return _outcome(request, deployment, Question(RAW, body, TOP_K)) | {
        "preview": data_uri(body, SOUNDS),
        "example": example,
    }


def sample_recordings(version: ModelVersion) -> list[dict[str, str]]:
    """{"file", "label", "sha256"} of the examples that the version has; what is made of a model may lack them."""
    stored = dict(version.artifacts.filter(name__startswith=EXAMPLE_PREFIX).values_list("name", "sha256"))
    listed = version.meta.get("input", {}).get("examples", [])
    return [{**item, "sha256": stored[item["file"]]} for item in listed if item["file"] in stored]


def data_uri(body: bytes, kinds: dict[bytes, str]) -> str:
    """A picture or a sound for a page, by its first bytes; empty where browsers do not show its kind."""
    kind = next((kind for head, kind in kinds.items() if body.startswith(head)), "")
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
        return _outcome(request, deployment, Question(SAMPLE, top_k=TOP_K)) | {"form": form, "is_sample": True}
    form = RowForm(request.POST, columns=columns)
    if not form.is_valid():
        name, errors = next(iter(form.errors.items()))
        raise Unprocessable(f"{form.fields[name].label}: {errors[0]}", code="wrong_type")
    question = Question(JSON, json.dumps({"row": form.row()}).encode(), TOP_K)
    return _outcome(request, deployment, question) | {"form": form}


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
    return _outcome(request, deployment, Question(RAW, text.encode("utf-8", "replace"), TOP_K))


def sample_texts(version: ModelVersion) -> list[str]:
    """Held-out texts that the model came with."""
    return version.meta.get("input", {}).get("examples", [])


# Users


def _prepare_user(request: HttpRequest, deployment: Deployment) -> dict[str, Any]:
    """What most people know, to choose from. Users come out of the team's data, so only the team may ask for them."""
    facts = deployment.version.meta.get("input", {})
    chosen = request.POST.getlist("items")
    liked = [{**item, "is_chosen": item["item"] in chosen} for item in facts.get("popular", [])[:SHOWN_ITEMS]]
    has_users = _is_member(request, deployment)
    examples = facts.get("examples", []) if has_users else []
    return {"liked": liked, "has_users": has_users, "examples": examples, "user": request.POST.get("user", "")}


def _predict_user(request: HttpRequest, deployment: Deployment) -> dict[str, Any]:
    """For the things that were ticked, or, where the team asks, for one user: what is recommended to somebody tells
    what they took, and ids can be guessed."""
    user, items = request.POST.get("user", "").strip(), request.POST.getlist("items")[:SHOWN_ITEMS]
    may_name = _is_member(request, deployment)
    if user and not may_name:
        message = _("Only the team may ask about users of its data. Choose things you like.")
        raise Forbidden(message, code="members_only", field="user")
    if not user and not items:
        told = (
            _("Choose something you like first, or name a user.") if may_name else _("Choose something you like first.")
        )
        raise Unprocessable(told, code="nothing_chosen")
    asked = {"user": user} if user else {"items": items}
    return _outcome(request, deployment, Question(JSON, json.dumps({**asked, "k": LIST_LENGTH}).encode())) | {
        "asked": user
    }


# Chats


def _prepare_chat(request: HttpRequest, deployment: Deployment) -> dict[str, Any]:
    """What opens the talk: a greeting, and things to ask, which only the team sees."""
    examples = sample_texts(deployment.version) if _is_member(request, deployment) else []
    return {"greeting": deployment.page_settings.get("greeting") or _("Hello. What can I do for you?"),
            "examples": examples[:3]}  # fmt: skip


def _predict_chat(request: HttpRequest, deployment: Deployment) -> dict[str, Any]:
    text = request.POST.get("text", "").strip()
    found = _outcome(request, deployment, Question(RAW, text.encode("utf-8", "replace"), TOP_K))
    return found | {"said": text, "reply": reply_to(deployment.page_settings, found["outcome"])}


# All

PREPARE = {
    AUDIO: _prepare_audio,
    IMAGE: _prepare_image,
    TABLE: _prepare_row,
    TEXT: _prepare_text,
    USER: _prepare_user,
    CHAT: _prepare_chat,
}
PREDICT = {
    AUDIO: _predict_audio,
    IMAGE: _predict_image,
    TABLE: _predict_row,
    TEXT: _predict_text,
    USER: _predict_user,
    CHAT: _predict_chat,
}


def sample_input(version: ModelVersion) -> Any:
    """What the snippets send: a row, a text, a user, or the name of the file with the sample picture or recording."""
    match input_kind(version):
        case "audio" | "image":
            return str(version.meta.get("sample") or "")
        case "text":
            return next(iter(sample_texts(version)), "")
        case "user":
            return next(iter(version.meta.get("input", {}).get("examples", [])), "")
        case _:
            return sample_row(version)


def _outcome(request: HttpRequest, deployment: Deployment, question: Question) -> dict[str, Any]:
    """Ask a replica as the gateway does. Raises DomainError with what the replica found wrong."""
    endpoint = endpoint_of(deployment)
    if endpoint.may_sleep and not endpoint.routes:
        endpoint = hold_page(deployment)
    if is_explanation(request):
        question = question.explained()
    frame = ask_endpoint(endpoint, question)
    payload = json.loads(frame.body)
    if frame.status != 200:
        raise _refusal(frame, payload)
    explanation = payload.get("explanation")
    return {
        "outcome": payload,
        "explained": explanation and read_explanation(explanation, has_classes="class" in payload),
        "value": plain_number(payload["value"]) if "value" in payload else "",
        "milliseconds": frame.head["seconds"] * 1000,
    }


def _refusal(frame: Frame, payload: dict[str, Any]) -> DomainError:
    error = DomainError(payload["error"]["message"], code=payload["error"]["code"])
    error.status = frame.status
    return error
