"""The request log: some of the requests by key, written down where the team wants that.

While a request waits nothing happens but an addition to a list in memory; about once a second the list is written down
in a thread. A process that is killed loses what it has answered in its last second, and where more comes than can be
written the rest is left out.
"""

import base64
import logging
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.accounts.services import record_audit
from apps.core.errors import QuotaExceeded, Unprocessable
from apps.deployments.models import Deployment, LoggedRequest
from apps.deployments.rollouts import locked
from apps.resources.storage_use import check_storage
from workers.inference.framing import JSON, RAW, Question

MOST_DAYS = 365
MOST_WAITING = 5_000
MOST_ANSWER_CHARACTERS = 4_000
MOST_INPUT_BYTES = 64 * 1024
ROW_BYTES = 100  # what a row takes beside its answer and input
MOST_ROWS = 100_000  # of a deployment; the oldest go first

logger = logging.getLogger("lepton.requests")


@dataclass(frozen=True)
class LogRule:
    """What a deployment wants of its requests: `percent` of them, with their inputs or without."""

    percent: float = 0.0
    has_inputs: bool = False


NOTHING = LogRule()


class RequestLog:
    """Requests that wait to be written down. Any thread may add."""

    def __init__(self, choose: Callable[[], float] = random.random) -> None:
        """`choose` gives numbers in [0, 1), by which requests are picked."""
        self._choose = choose
        self._waiting: list[LoggedRequest] = []
        self._lock = threading.Lock()
        self.left_out = 0

    def note(
        self, rule: LogRule, deployment_id: int, question: Question, *, at: datetime, version: int, status: int,
        seconds: float, answer: bytes,
    ) -> None:  # fmt: skip
        """Write this request down later, if it falls among those that the deployment wants."""
        if not rule.percent or self._choose() * 100 >= rule.percent:
            return
        row = _row(rule, question, answer)
        row.deployment_id, row.at, row.version_number = deployment_id, at, version
        row.status, row.seconds = status, seconds
        with self._lock:
            if len(self._waiting) < MOST_WAITING:
                self._waiting.append(row)
            else:
                self.left_out += 1

    def take(self) -> list[LoggedRequest]:
        with self._lock:
            taken, self._waiting = self._waiting, []
            left_out, self.left_out = self.left_out, 0
        if left_out:
            logger.warning("%d requests came too fast to be logged", left_out)
        return taken

    def flush(self) -> None:
        """Write down what was added since the last time."""
        if rows := self.take():
            write_requests(rows)


REQUEST_LOG = RequestLog()


def _row(rule: LogRule, question: Question, answer: bytes) -> LoggedRequest:
    text = answer[: 4 * MOST_ANSWER_CHARACTERS].decode("utf-8", "replace").replace("\0", "")[:MOST_ANSWER_CHARACTERS]
    is_kept = rule.has_inputs and question.content in (RAW, JSON) and len(question.body) <= MOST_INPUT_BYTES
    kept = bytes(question.body) if is_kept else None
    return LoggedRequest(
        verb="explain" if question.is_explanation else "predict",
        input_bytes=len(question.body),
        content=question.content,
        input=kept,
        answer=text,
        kept_bytes=ROW_BYTES + len(text.encode()) + len(kept or b""),
    )


def write_requests(rows: Sequence[LoggedRequest]) -> None:
    """Those of deployments that are gone are left out, and of teams whose storage is full."""
    known = Deployment.objects.select_related("team").in_bulk({row.deployment_id for row in rows})
    for deployment in known.values():
        mine = [row for row in rows if row.deployment_id == deployment.pk]
        try:
            with transaction.atomic():
                check_storage(deployment.team, sum(row.kept_bytes for row in mine))
                LoggedRequest.objects.bulk_create(mine)
        except QuotaExceeded:
            logger.warning("%d requests of %s are not logged: its team's storage is full", len(mine), deployment)
        except IntegrityError:
            logger.info("%d requests of %s are not logged: it was deleted", len(mine), deployment)


@transaction.atomic
def set_request_log(
    *, deployment: Deployment, user: User | None, percent: float, days: int, has_inputs: bool
) -> Deployment:
    """What is written down from now on. Raises Unprocessable for numbers out of range."""
    if not 0 <= percent <= 100:
        raise Unprocessable(_("Give a share from 0 to 100 percent."), code="out_of_range", field="percent")
    if not 1 <= days <= MOST_DAYS:
        message = _("Give a number of days from 1 to %(most)d.") % {"most": MOST_DAYS}
        raise Unprocessable(message, code="out_of_range", field="days")
    row = locked(deployment)
    row.logged_percent, row.logged_days, row.logs_inputs = percent, days, has_inputs
    row.save(update_fields=["logged_percent", "logged_days", "logs_inputs"])
    details = {"percent": percent, "days": days, "inputs": has_inputs}
    record_audit(
        team=row.team, actor=user, action="deployment.request_log", target=f"deployment {row.name}", details=details
    )
    return row


@transaction.atomic
def clear_request_log(*, deployment: Deployment, user: User | None) -> int:
    """Delete all that was written down; returns how many requests."""
    count, _by_model = deployment.logged_requests.all().delete()
    record_audit(
        team=deployment.team,
        actor=user,
        action="deployment.request_log_cleared",
        target=f"deployment {deployment.name}",
        details={"requests": count},
    )
    return count


def forget_old_requests(*, now: datetime) -> int:
    """Delete what is older than its deployment keeps it, and what is beyond `MOST_ROWS`; returns how many."""
    forgotten = 0
    for deployment in Deployment.objects.filter(logged_requests__isnull=False).distinct():
        rows = deployment.logged_requests
        forgotten += rows.filter(at__lt=now - timedelta(days=deployment.logged_days)).delete()[0]
        newest = rows.order_by("-id").values_list("id", flat=True)[MOST_ROWS : MOST_ROWS + 1]
        if newest:
            forgotten += rows.filter(pk__lte=newest[0]).delete()[0]
    return forgotten


def as_row(request: LoggedRequest) -> dict[str, Any]:
    """For a file: what was sent as text, or as "base64:..." where it is none."""
    return {
        "at": request.at.isoformat(),
        "version": request.version_number,
        "verb": request.verb,
        "status": request.status,
        "seconds": round(request.seconds, 6),
        "input_bytes": request.input_bytes,
        "input": input_text(request) or _in_base64(request),
        "answer": request.answer,
    }


def input_text(request: LoggedRequest) -> str:
    """What was sent, as text; "" where it is not kept, or no text."""
    if request.input is None:
        return ""
    try:
        return bytes(request.input).decode()
    except UnicodeDecodeError:
        return ""


def _in_base64(request: LoggedRequest) -> str:
    return f"base64:{base64.b64encode(request.input).decode()}" if request.input else ""
