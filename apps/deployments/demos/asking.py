"""How demo pages ask a model, and who it is that asks."""

import json
from typing import Any

from django.http import HttpRequest

from apps.core.errors import DomainError
from apps.deployments.endpoints import ask_endpoint, endpoint_of
from apps.deployments.explained import read_explanation
from apps.deployments.holding import hold_page
from apps.deployments.models import Deployment
from apps.registry import figures
from workers.inference.framing import Frame, Question

TOP_K = 5


def is_member(request: HttpRequest, deployment: Deployment) -> bool:
    """Whether the person is in the team that serves the model, and so may see what comes out of its data."""
    return any(membership.team_id == deployment.team_id for membership in request.memberships)


def is_explanation(request: HttpRequest) -> bool:
    """Whether the page asks for more than the answer."""
    return "explain" in request.POST


def ask(request: HttpRequest, deployment: Deployment, question: Question) -> dict[str, Any]:
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
        "value": figures.plain(payload["value"]) if "value" in payload else "",
        "milliseconds": frame.head["seconds"] * 1000,
    }


def _refusal(frame: Frame, payload: dict[str, Any]) -> DomainError:
    error = DomainError(payload["error"]["message"], code=payload["error"]["code"])
    error.status = frame.status
    return error
