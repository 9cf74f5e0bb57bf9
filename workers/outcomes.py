"""How one machine's part of an attempt has ended, and the words for it."""

import signal
from dataclasses import dataclass, field

from django.utils.translation import gettext as _

from apps.core.errors import DomainError


@dataclass(frozen=True)
class Outcome:
    """How this part has ended; `result` and `outputs` only of the one that leads, when it has succeeded."""

    ending: str
    message: str = ""
    failure: dict = field(default_factory=dict)
    result: dict = field(default_factory=dict)
    outputs: dict = field(default_factory=dict)


class Over(Exception):
    """This part has ended before its program did, or without one."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome


def failure_from_event(event: dict) -> dict:
    return {key: event.get(key, "") for key in ("code", "message", "hint", "blame", "field", "evidence")}


def failure_of(error: Exception) -> dict:
    if isinstance(error, DomainError):
        return machine_failure(error.code, error.message, "")
    return machine_failure("runner_failed", _("The result could not be taken over."), repr(error))


def machine_failure(code: str, message: str, evidence: str) -> dict:
    hint = _("Try again. If it happens again, send the log to whoever looks after this site.")
    return {"code": code, "message": str(message), "hint": hint, "blame": "machine", "evidence": evidence}


def killed_sentence(number: int, tail: str) -> str:
    sentence = _("The program was killed by signal %(number)d.") % {"number": number}
    if number == signal.SIGKILL:
        sentence += " " + _("The machine may have run out of memory.")
    return f"{sentence} {tail[-500:]}".strip()
