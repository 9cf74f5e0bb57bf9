"""When work that waits, or would wait, will start: the forecast of a pool's snapshot, for pages and programs."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from apps.accounts.models import Team, User
from apps.resources.planning import take_snapshot
from apps.resources.scheduling import Request, Snapshot, plan
from apps.resources.wanted import Wanted

CANDIDATE = 0  # the id of work that is not handed in yet; claims count from 1


@dataclass(frozen=True)
class Start:
    """When work begins: at once, or between two moments 8 times of 10. Neither where it cannot be told."""

    is_now: bool = False
    low_at: datetime | None = None
    high_at: datetime | None = None

    @property
    def is_known(self) -> bool:
        return self.is_now or self.low_at is not None


def start_of(*, wanted: Wanted, team: Team, user: User, snapshot: Snapshot | None = None) -> Start:
    """When this would start if it were handed in now."""
    snapshot = snapshot or take_snapshot(wanted.pool)
    request = request_for(wanted, team_id=team.pk, user_id=user.pk, now=snapshot.now)
    return forecast_start(snapshot, request)


def request_for(wanted: Wanted, *, team_id: int, user_id: int, now: float) -> Request:
    terms = wanted.terms
    return Request(
        id=CANDIDATE,
        team_id=team_id,
        user_id=user_id,
        demand=wanted.demand,
        submitted_at=now,
        waiting_since=now,
        priority=terms.priority,
        is_preemptible=terms.is_preemptible,
        estimate=terms.estimate,
        bid=terms.bid,
    )


def forecast_start(snapshot: Snapshot, request: Request) -> Start:
    """When `request` starts in the pool as it is; it takes the place of a request with its id."""
    others = tuple(other for other in snapshot.requests if other.id != request.id)
    snapshot = replace(snapshot, requests=(*others, request))
    if any(grant.request_id == request.id for grant in plan(snapshot).grants):
        return Start(is_now=True)
    return Start()


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
