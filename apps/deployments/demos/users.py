"""Demos that recommend: to somebody who says what they like, or, for the team, to a user of the data."""

import json
from typing import Any

from django.http import HttpRequest
from django.utils.translation import gettext as _

from apps.core.errors import Forbidden, Unprocessable
from apps.deployments.demos.asking import ask, is_member
from apps.deployments.models import Deployment
from apps.deployments.pages import OFFERS
from workers.inference.framing import JSON, Question

SHOWN_ITEMS, LIST_LENGTH = 18, 10  # things to choose from, and things that are recommended
ALIKE = 5  # people with most in common, whom the team sees


def prepare(request: HttpRequest, deployment: Deployment) -> dict[str, Any]:
    """What most people know, to choose from. Users come out of the team's data, so only the team may ask for them."""
    facts = deployment.version.meta.get("input", {})
    chosen = request.POST.getlist("items")
    liked = [{**item, "is_chosen": item["item"] in chosen} for item in facts.get("popular", [])[:SHOWN_ITEMS]]
    has_users = is_member(request, deployment)
    examples = facts.get("examples", []) if has_users else []
    return {
        "liked": liked,
        "has_users": has_users,
        "examples": examples,
        "user": request.POST.get("user", ""),
        "is_offers": deployment.page == OFFERS,
    }


def predict(request: HttpRequest, deployment: Deployment) -> dict[str, Any]:
    """For the things that were ticked, or, where the team asks, for one user: what is recommended to somebody tells
    what they took, and ids can be guessed. Who has most in common with them only the team sees, too; a reason counts
    people and names none."""
    user, items = request.POST.get("user", "").strip(), request.POST.getlist("items")[:SHOWN_ITEMS]
    may_name = is_member(request, deployment)
    if user and not may_name:
        message = _("Only the team may ask about users of its data. Choose something from the list.")
        raise Forbidden(message, code="members_only", field="user")
    if not user and not items:
        told = _("Choose something first, or name somebody of the data.") if may_name else _("Choose something first.")
        raise Unprocessable(told, code="nothing_chosen")
    asked = {"user": user} if user else {"items": items}
    why = {"reasons": True} | ({"people": ALIKE} if may_name else {})
    question = Question(JSON, json.dumps({**asked, "k": LIST_LENGTH, **why}).encode())
    return ask(request, deployment, question) | {"asked": user}
