"""The state line of a job: which states it has passed, when, and how long each took. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from apps.jobs.models import Job, JobEvent

S = Job.Status
LINE = (S.QUEUED, S.STARTING, S.RUNNING)


@dataclass(frozen=True)
class Step:
    """`state` is done, current, ahead or skipped; `seconds` is how long it lasted, or lasts already."""

    status: str
    label: str
    state: str
    at: datetime | None
    seconds: float | None


def state_line(job: Job, events: Sequence[JobEvent], now: datetime) -> list[Step]:
    """Waiting, starting, running, a pause that lasts, and the end; of the newest attempt where there were several."""
    entered: dict[str, datetime] = {}
    for event in events:
        if _state_of(event) == S.QUEUED:
            entered.clear()
        if event.status:
            entered[_state_of(event)] = event.at
    pause = (S.PAUSED,) if job.status == S.PAUSED else ()
    line = (*LINE, *pause, job.status if job.is_ended else S.SUCCEEDED)
    here = len(LINE) if job.is_ended else line.index(job.status)
    moments = [entered.get(status) if place <= here else None for place, status in enumerate(line)]
    steps = []
    for place, status in enumerate(line):
        at = moments[place]
        ends = next((moment for moment in moments[place + 1 :] if moment), None if job.is_ended else now)
        seconds = (ends - at).total_seconds() if at and ends else None
        steps.append(Step(status, S(status).label, _state(place, here, at, job.is_ended), at, seconds))
    return steps


def _state_of(event: JobEvent) -> str:
    return S.QUEUED if event.status == JobEvent.PREEMPTED else event.status


def _state(place: int, here: int, at: datetime | None, is_ended: bool) -> str:
    if place > here:
        return "ahead"
    if at is None:
        return "skipped"
    return "current" if place == here and not is_ended else "done"
