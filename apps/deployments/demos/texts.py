"""Demos that are asked with a text: sorted into classes, translated, or answered in a talk."""

from typing import Any

from django.http import HttpRequest
from django.utils.translation import gettext as _

from apps.deployments.demos.asking import TOP_K, ask, is_member
from apps.deployments.models import Deployment
from apps.deployments.pages import reply_to
from apps.deployments.samples import sample_texts
from workers.inference.framing import RAW, Question

RATE = 120  # a text is asked about again whenever its writer rests
CHARACTERS_OF_ONE = 500  # of a text to translate, which takes about as long as it is
OPENERS = 3  # things to ask in a talk


def prepare(request: HttpRequest, deployment: Deployment) -> dict[str, Any]:
    """What was written so far. Examples come out of the team's data, so only the team sees them."""
    return {"text": request.POST.get("text", ""), "examples": _examples(request, deployment)}


def predict(request: HttpRequest, deployment: Deployment) -> dict[str, Any]:
    """Of the text; nothing where it was deleted again."""
    text = request.POST.get("text", "")
    if request.htmx and not text.strip():
        return {}
    return _ask(request, deployment, text)


def weigh_translation(request: HttpRequest) -> int:
    """A translation counts by its length."""
    return 1 + len(request.POST.get("text", "")) // CHARACTERS_OF_ONE


def prepare_chat(request: HttpRequest, deployment: Deployment) -> dict[str, Any]:
    """What opens the talk: a greeting, and things to ask, which only the team sees."""
    greeting = deployment.page_settings.get("greeting") or _("Hello. What can I do for you?")
    return {"greeting": greeting, "examples": _examples(request, deployment)[:OPENERS]}


def predict_chat(request: HttpRequest, deployment: Deployment) -> dict[str, Any]:
    """The next turn of the talk."""
    text = request.POST.get("text", "").strip()
    found = _ask(request, deployment, text)
    return found | {"said": text, "reply": reply_to(deployment.page_settings, found["outcome"])}


def _examples(request: HttpRequest, deployment: Deployment) -> list[str]:
    return sample_texts(deployment.version) if is_member(request, deployment) else []


def _ask(request: HttpRequest, deployment: Deployment, text: str) -> dict[str, Any]:
    found = ask(request, deployment, Question(RAW, text.encode("utf-8", "replace"), TOP_K))
    if not is_member(request, deployment):
        for answer in found["outcome"].get("answers", ()):
            answer["question"] = ""  # somebody has asked it, and only the team sees its data
    return found
