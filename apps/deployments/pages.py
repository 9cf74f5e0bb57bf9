"""How a deployment's demo page looks where it is not the usual one for the task.

``chat``, for texts sorted into classes: a talk, in which each class has an answer, and a message of which the model is
less sure than `unsure_below` gets the answer `unknown`. A model that finds answers has its own, and says itself when it
does not know, unless `unsure_below` sets another bound.

``offers``, for models that recommend: what to offer to a customer who owns something already.

``screening``, for models of classes: whether an item counts as the class `positive`, which it does from a probability
of `threshold` on, whatever other class is likelier.

Every page may have a `notice`, which stands above everything. The settings of a page stay where another is chosen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.utils.translation import gettext as _

from apps.core.errors import Unprocessable
from workers.contract import (
    ANSWER_RETRIEVAL,
    AUDIO_CLASSIFICATION,
    IMAGE_CLASSIFICATION,
    RECOMMENDATION,
    TABULAR_CLASSIFICATION,
    TEXT_CLASSIFICATION,
)

CHAT, OFFERS, SCREENING = "chat", "offers", "screening"
PAGES = {
    CHAT: (TEXT_CLASSIFICATION, ANSWER_RETRIEVAL),
    OFFERS: (RECOMMENDATION,),
    SCREENING: (TABULAR_CLASSIFICATION, IMAGE_CLASSIFICATION, TEXT_CLASSIFICATION, AUDIO_CLASSIFICATION),
}
SETTINGS = {
    CHAT: ("answers", "greeting", "unknown", "unsure_below"),
    SCREENING: ("positive", "threshold"),
}
UNSURE_BELOW = 0.5
THRESHOLD = 0.5
HUNDREDTHS = 100  # thresholds in which it is measured what a model finds (workers.training.operating)
MAX_ANSWER_LENGTH = 2_000


def check_page(task: str, page: str, settings: Mapping[str, Any], classes: Sequence[str] | None = None) -> None:
    """`classes` are the model's, None where they are not known yet. Raises Unprocessable with `field` page or
    page_settings."""
    if page and task not in PAGES.get(page, ()):
        known = ", ".join(name for name, tasks in PAGES.items() if task in tasks) or _("none")
        message = _('There is no page "%(page)s" for this task. There are: %(known)s.')
        raise _bad(message % {"page": page, "known": known}, "unknown_page", "page")
    known = ["notice", *(name for kind, names in SETTINGS.items() if task in PAGES[kind] for name in names)]
    if unknown := set(settings) - set(known):
        message = _('This page has no setting "%(name)s". It has: %(known)s.')
        raise _bad(message % {"name": min(unknown), "known": ", ".join(known)})
    _check_talk(settings)
    _check_screening(settings)
    if page == SCREENING:
        _check_positive(settings.get("positive"), classes)


def _check_talk(settings: Mapping[str, Any]) -> None:
    answers = settings.get("answers", {})
    texts = [settings.get("notice", ""), settings.get("greeting", ""), settings.get("unknown", ""), *_values(answers)]
    if not all(isinstance(text, str) and len(text) <= MAX_ANSWER_LENGTH for text in texts):
        raise _bad(_("Each answer is a text of at most %(n)d letters.") % {"n": MAX_ANSWER_LENGTH})
    if not _is_probability(settings.get("unsure_below", UNSURE_BELOW)):
        raise _bad(_("“unsure_below” is a probability: a number from 0 to 1."))


def _check_screening(settings: Mapping[str, Any]) -> None:
    threshold = settings.get("threshold", THRESHOLD)
    if not _is_probability(threshold) or threshold != round(threshold * HUNDREDTHS) / HUNDREDTHS:
        raise _bad(_("“threshold” is a probability in whole hundredths, such as 0.3: for these it is measured."))
    if not isinstance(settings.get("positive", ""), str):
        raise _bad(_("“positive” is the name of a class."))


def _check_positive(positive: Any, classes: Sequence[str] | None) -> None:
    if not positive:
        raise _bad(_("A page that screens looks for a class: name it under “positive”."))
    if classes is not None and positive not in classes:
        message = _('The model has no class "%(name)s" that “positive” could be. It has: %(known)s.')
        raise _bad(message % {"name": positive, "known": ", ".join(classes)})


def _is_probability(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _values(answers: Any) -> list[Any]:
    if not isinstance(answers, Mapping):
        raise _bad(_("“answers” has a text for each class: {class: text}."))
    return list(answers.values())


def _bad(message: str, code: str = "invalid_page_settings", field: str = "page_settings") -> Unprocessable:
    return Unprocessable(message, code=code, field=field)


def decision_of(page: str, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """{"positive", "threshold"}: what the answers are to decide; None where nothing is."""
    if page != SCREENING:
        return None
    return {"positive": settings["positive"], "threshold": settings.get("threshold", THRESHOLD)}


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
