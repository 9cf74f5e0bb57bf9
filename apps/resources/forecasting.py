"""When work that waits, or would wait, will start: the forecast of a pool's snapshot, for pages and programs."""

import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from apps.accounts.models import Team, User
from apps.resources.models import Allocation
from apps.resources.planning import take_snapshot
from apps.resources.scheduling import Priority, Request, Snapshot, plan
from apps.resources.wanted import Wanted

CANDIDATE = 0  # the id of work that is not handed in yet; claims count from 1


@dataclass(frozen=True)
class Start:
    """When work begins: at once, or 8 times of 10 between two moments, in seconds since 1970. Neither where it cannot
    be told."""

    is_now: bool = False
    low_seconds: float | None = None
    high_seconds: float | None = None

    @property
    def is_known(self) -> bool:
        return self.is_now or self.low_seconds is not None

    @property
    def low_at(self) -> datetime | None:
        return _moment(self.low_seconds)

    @property
    def high_at(self) -> datetime | None:
        return _moment(self.high_seconds)

    @property
    def latest(self) -> float:
        """For comparison: whatever starts at once has started, what cannot be told never does."""
        if self.is_now:
            return 0.0
        return math.inf if self.high_seconds is None else self.high_seconds


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def start_of(*, wanted: Wanted, team: Team, user: User, snapshot: Snapshot | None = None) -> Start:
    """When this would start if it were handed in now."""
    snapshot = snapshot or take_snapshot(wanted.pool)
    request = request_for(wanted, team_id=team.pk, user_id=user.pk, now=snapshot.now)
    return forecast_start(snapshot, request)


def request_for(wanted: Wanted, *, team_id: int, user_id: int, now: float, claim: Allocation | None = None) -> Request:
    """A request for what is wanted: new, or with the age of the claim whose place it takes."""
    terms = wanted.terms
    return Request(
        id=claim.pk if claim else CANDIDATE,
        team_id=team_id,
        user_id=user_id,
        demand=wanted.demand,
        submitted_at=claim.submitted_at.timestamp() if claim else now,
        waiting_since=claim.requested_at.timestamp() if claim else now,
        priority=Priority(terms.priority),
        is_preemptible=terms.is_preemptible,
        estimate=terms.estimate,
        attained_seconds=claim.attained_seconds if claim else 0.0,
        bid=terms.bid,
    )


def forecast_start(snapshot: Snapshot, request: Request) -> Start:
    """When `request` starts in the pool as it is; it takes the place of a request with its id."""
    others = tuple(other for other in snapshot.requests if other.id != request.id)
    snapshot = replace(snapshot, requests=(*others, request))
    if any(grant.request_id == request.id for grant in plan(snapshot).grants):
        return Start(is_now=True)
    return Start()
