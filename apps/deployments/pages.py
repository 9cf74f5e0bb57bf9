"""How a deployment's demo page looks where it is not the usual one for the task.

``chat``, for texts sorted into classes: a talk, in which each class has an answer, and a message of which the model is
less sure than `unsure_below` gets the answer `unknown`. A model that finds answers has its own, and says itself when it
does not know, unless `unsure_below` sets another bound.

``offers``, for models that recommend: what to offer to a customer who owns something already.

Every page may have a `notice`, which stands above everything. A talk's settings stay where another page is chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _

from apps.core.errors import Unprocessable
from workers.contract import ANSWER_RETRIEVAL, RECOMMENDATION, TEXT_CLASSIFICATION

CHAT, OFFERS = "chat", "offers"
PAGES = {CHAT: (TEXT_CLASSIFICATION, ANSWER_RETRIEVAL), OFFERS: (RECOMMENDATION,)}
UNSURE_BELOW = 0.5
MAX_ANSWER_LENGTH = 2_000
CHAT_SETTINGS = ("answers", "greeting", "unknown", "unsure_below")


def check_page(task: str, page: str, settings: Mapping[str, Any]) -> None:
    """Raises Unprocessable with `field` page or page_settings."""
    if page and task not in PAGES.get(page, ()):
        known = ", ".join(name for name, tasks in PAGES.items() if task in tasks) or _("none")
        message = _('There is no page "%(page)s" for this task. There are: %(known)s.')
        raise _bad(message % {"page": page, "known": known}, "unknown_page", "page")
    known = ("notice", *CHAT_SETTINGS) if task in PAGES[CHAT] else ("notice",)
    if unknown := set(settings) - set(known):
        message = _('This page has no setting "%(name)s". It has: %(known)s.')
        raise _bad(message % {"name": min(unknown), "known": ", ".join(known)})
    answers, unsure = settings.get("answers", {}), settings.get("unsure_below", UNSURE_BELOW)
    texts = [settings.get("notice", ""), settings.get("greeting", ""), settings.get("unknown", ""), *_values(answers)]
    if not all(isinstance(text, str) and len(text) <= MAX_ANSWER_LENGTH for text in texts):
        raise _bad(_("Each answer is a text of at most %(n)d letters.") % {"n": MAX_ANSWER_LENGTH})
    if isinstance(unsure, bool) or not isinstance(unsure, int | float) or not 0 <= unsure <= 1:
        raise _bad(_("“unsure_below” is a probability: a number from 0 to 1."))


def _values(answers: Any) -> list[Any]:
    if not isinstance(answers, Mapping):
        raise _bad(_("“answers” has a text for each class: {class: text}."))
    return list(answers.values())


def _bad(message: str, code: str = "invalid_page_settings", field: str = "page_settings") -> Unprocessable:
    return Unprocessable(message, code=code, field=field)


def reply_to(settings: Mapping[str, Any], outcome: Mapping[str, Any]) -> dict[str, Any]:
    """{"text", "is_known"}: what the chat says when the model answers `outcome`. A class without an answer is named."""
    if not _is_sure(settings, outcome):
        unknown = settings.get("unknown") or _("I am not sure what you mean. Could you say it in other words?")
        return {"text": unknown, "is_known": False}
    if "answers" in outcome:
        return {"text": outcome["answers"][0]["answer"], "is_known": True}
    return {"text": settings.get("answers", {}).get(outcome["class"]) or outcome["class"], "is_known": True}


def _is_sure(settings: Mapping[str, Any], outcome: Mapping[str, Any]) -> bool:
    if "answers" not in outcome:
        return outcome["probability"] >= settings.get("unsure_below", UNSURE_BELOW)
    return outcome["confidence"] >= settings["unsure_below"] if "unsure_below" in settings else outcome["knows"]
