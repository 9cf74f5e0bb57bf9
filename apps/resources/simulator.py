"""One simulation per administrator: asked for, answered at once or by the control worker, kept for a day."""

import time
import uuid
from dataclasses import asdict

from django.core.cache import cache
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.accounts.services import record_audit
from apps.core.doorbell import ring
from apps.core.errors import Unprocessable
from apps.resources.scheduling import POLICIES
from apps.resources.simulation import (
    MOST_DAYS,
    MOST_EXTRA_NODES,
    NothingToReplay,
    Question,
    TooSlow,
    simulate,
)

QUICK_SECONDS = 2.0
MOST_SECONDS = 120.0
KEPT_SECONDS = 86_400
LOST_AFTER_SECONDS = 300  # a run that says nothing for so long has died with its worker
RUNNING, DONE, FAILED = "running", "done", "failed"


def current_simulation(user: User) -> dict | None:
    """{"id", "state", "progress", "question", "answer" or "message"}, or nothing."""
    return cache.get(_key(user.pk))


@transaction.atomic
def ask_simulation(*, user: User, question: Question) -> dict:
    """Answer at once if it takes no longer than QUICK_SECONDS; else the control worker does. Raises Unprocessable."""
    _check(question)
    details = asdict(question)
    record_audit(team=None, actor=user, action="pool.simulated", target=question.pool, details=details)
    state = {"id": uuid.uuid4().hex, "state": RUNNING, "progress": 0.0, "question": details}
    cache.set(_key(user.pk), state, LOST_AFTER_SECONDS)
    try:
        return _run(user.pk, state, QUICK_SECONDS)
    except TooSlow:
        ring("apps.resources.tasks.run_simulation", user.pk, state["id"])
        return state


def run_simulation(*, user_id: int, run_id: str) -> None:
    """In the control worker. A question that was asked since takes the place of this one."""
    state = cache.get(_key(user_id))
    if not state or state["id"] != run_id or state["state"] != RUNNING:
        return
    try:
        _run(user_id, state, MOST_SECONDS)
    except TooSlow:
        message = _("The replay took longer than %(n)d minutes. Choose fewer days.") % {"n": MOST_SECONDS // 60}
        _keep(user_id, {**state, "state": FAILED, "message": message})


def _run(user_id: int, state: dict, seconds: float) -> dict:
    question = Question(**state["question"])
    told = 0.0

    def tell(part: float) -> None:
        nonlocal told
        if part - told >= 0.02 and seconds > QUICK_SECONDS:
            told = part
            if not _keep(user_id, {**state, "progress": part}):
                raise TooSlow  # another question was asked: nobody waits for this answer

    try:
        answer = simulate(question, now=timezone.now(), tell=tell, clock=time.monotonic, seconds=seconds)
    except NothingToReplay:
        message = _("Nothing ran on devices of this pool in these days, or it has no machine. Choose more days.")
        state = {**state, "state": FAILED, "message": message}
    else:
        state = {**state, "state": DONE, "progress": 1.0, "answer": answer}
    _keep(user_id, state)
    return state


def _keep(user_id: int, state: dict) -> bool:
    """Write it down, unless another question was asked meanwhile."""
    present = cache.get(_key(user_id))
    if present is None or present["id"] != state["id"]:
        return False
    cache.set(_key(user_id), state, LOST_AFTER_SECONDS if state["state"] == RUNNING else KEPT_SECONDS)
    return True


def _key(user_id: int) -> str:
    return f"simulation:{user_id}"


def _check(question: Question) -> None:
    if question.policy not in POLICIES:
        message = _("Choose one of: %(known)s.") % {"known": ", ".join(POLICIES)}
        raise Unprocessable(message, code="unknown_policy", field="policy")
    for field, value, least, most in (
        ("days", question.days, 1, MOST_DAYS),
        ("extra_nodes", question.extra_nodes, 0, MOST_EXTRA_NODES),
    ):
        if not least <= value <= most:
            message = _("Give a number from %(least)d to %(most)d.") % {"least": least, "most": most}
            raise Unprocessable(message, code="out_of_range", field=field)
