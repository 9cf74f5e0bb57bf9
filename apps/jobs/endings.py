"""What becomes of a job whose attempt has ended on all its machines. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from django.utils.translation import gettext as _

from apps.jobs.models import Member

E = Member.Ending


class Ended(Protocol):
    """What is read of a member."""

    rank: int
    ending: str
    ended_at: Any
    message: str
    failure: Mapping[str, Any]


@dataclass(frozen=True)
class Verdict:
    """`becomes` is cancelled, failed (with `failure`), or queued again, as a strike or not."""

    becomes: str
    message: str = ""
    failure: Mapping[str, Any] = field(default_factory=dict)
    is_strike: bool = False


def judge(members: Sequence[Ended], *, is_cancelled: bool, leave_reason: str = "") -> Verdict:
    """The verdict on an attempt that has not succeeded; all its members have ended, each in its own way.

    When one part of a gang ends, the others crash or are ended for want of it. So what a program said itself counts
    before the loss of a machine, a loss and a stop that was asked for before a crash, and of several crashes the first.
    `leave_reason` is why the pool wanted the devices back, "" where it did not.
    """
    if is_cancelled:
        return Verdict("cancelled", _first_message(members, E.LOST) or _("Stopped."))
    if said := _those(members, E.FAILED):
        return Verdict("failed", failure=min(said, key=lambda member: member.rank).failure)
    if lost := _those(members, E.LOST):
        return Verdict("queued", min(lost, key=lambda member: member.ended_at).message, is_strike=True)
    crashed = _those(members, E.CRASHED)
    if crashed and not _those(members, E.STOPPED):
        return Verdict("failed", failure=min(crashed, key=lambda member: member.ended_at).failure)
    if leave_reason:
        return Verdict("queued", _("Made room: %(reason)s.") % {"reason": leave_reason})
    if not _those(members, E.STOPPED):
        return Verdict("queued", _("It ended without a word."), is_strike=True)
    return Verdict("queued", _("The machine was stopped."))


def _those(members: Sequence[Ended], ending: str) -> list[Ended]:
    return [member for member in members if member.ending == ending]


def _first_message(members: Sequence[Ended], ending: str) -> str:
    return next((member.message for member in _those(members, ending) if member.message), "")
