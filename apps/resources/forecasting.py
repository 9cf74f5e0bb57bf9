"""When work that waits, or would wait, will start: the forecast of a pool's snapshot, for pages and programs."""

import math
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta

from django.core.cache import cache
from django.db import connection, transaction
from django.db.models.functions import Now

from apps.accounts.models import Team, User
from apps.resources.models import Allocation, Pool
from apps.resources.planning import LOCK_PENDING
from apps.resources.scheduling import Priority, Request, Snapshot, plan
from apps.resources.scheduling.forecast import (
    ARRIVALS_SECONDS,
    Arrivals,
    Calibration,
    StartRange,
    forecast,
    forecast_one,
)
from apps.resources.snapshots import request_of, take_snapshot
from apps.resources.wanted import Wanted

CANDIDATE = 0  # the id of work that is not handed in yet; claims count from 1
EVERY_SECONDS = 10
SAMPLES, QUICK_SAMPLES = 25, 10  # for the queue as a whole; for an answer that a person waits for
MOST_ARRIVALS = 100


@dataclass(frozen=True)
class Outlook:
    """What else may be handed in to a pool, and by how much ranges are widened there."""

    arrivals: Arrivals | None = None
    calibration: Calibration = Calibration()


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


def start_of(*, wanted: Wanted, team: Team, user: User, snapshot: Snapshot) -> Start:
    """When this would start if it were handed in now; `snapshot` is of its pool."""
    request = request_for(wanted, team_id=team.pk, user_id=user.pk, now=snapshot.now)
    return forecast_start(snapshot, request, outlook_of(wanted.pool))


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


def forecast_start(snapshot: Snapshot, request: Request, outlook: Outlook) -> Start:
    """When `request` starts in the pool as it is; it takes the place of a request with its id."""
    others = tuple(other for other in snapshot.requests if other.id != request.id)
    if any(grant.request_id == request.id for grant in plan(replace(snapshot, requests=(*others, request))).grants):
        return Start(is_now=True)
    options = {"arrivals": outlook.arrivals, "calibration": outlook.calibration}
    found = forecast_one(snapshot, request, samples=QUICK_SAMPLES, **options)
    return Start(low_seconds=found.low_at, high_seconds=found.high_at) if found else Start()


def outlook_of(pool: Pool) -> Outlook:
    since = Now() - timedelta(seconds=ARRIVALS_SECONDS)
    recent = Allocation.objects.filter(pool=pool, is_service=False, submitted_at__gt=since)
    like = tuple(request_of(row) for row in recent.order_by("-submitted_at")[:MOST_ARRIVALS])
    arrivals = Arrivals(recent.count() / ARRIVALS_SECONDS, like) if like else None
    return Outlook(arrivals, Calibration(**Pool.objects.get(pk=pool.pk).start_calibration))


def forecast_pool(pool: Pool) -> int:
    """Write down when each claim that waits will start, at most every few seconds; returns how many. What never fits,
    or cannot be told, says nothing."""
    if not cache.add(f"forecast:{pool.pk}", True, EVERY_SECONDS):
        return 0
    _learn_from_starts(pool)
    snapshot = take_snapshot(pool)
    if not snapshot.requests:
        return 0
    outlook = outlook_of(pool)
    starts = forecast(snapshot, samples=SAMPLES, arrivals=outlook.arrivals, calibration=outlook.calibration)
    _write_starts({request.id: starts.get(request.id) for request in snapshot.requests})
    return len(starts)


@transaction.atomic
def _learn_from_starts(pool: Pool) -> None:
    """Hold what was said first of each claim against when it started, once; who gave up waiting tells nothing."""
    locked = Pool.objects.select_for_update(no_key=True).get(pk=pool.pk)
    foretold = Allocation.objects.filter(pool=pool, foretold_low_at__isnull=False)
    settled = list(foretold.exclude(status=Allocation.Status.PENDING).order_by("granted_at", "id"))
    if not settled:
        return
    calibration = Calibration(**locked.start_calibration)
    for claim in settled:
        if claim.granted_at is not None:
            low, high = claim.foretold_low_at.timestamp(), claim.foretold_high_at.timestamp()
            calibration = calibration.learn(StartRange(low, low, high), claim.granted_at.timestamp())
    locked.start_calibration = asdict(calibration)
    locked.save(update_fields=["start_calibration"])
    foretold.filter(pk__in=[claim.pk for claim in settled]).update(foretold_low_at=None, foretold_high_at=None)


def _write_starts(starts: dict[int, StartRange | None]) -> None:
    """In one statement, and only where the claim still waits. The first that is said is kept beside the last."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH held AS MATERIALIZED ({LOCK_PENDING}) "
            "UPDATE resources_allocation a "
            "SET starts_low_at = to_timestamp(v.low), starts_high_at = to_timestamp(v.high), "
            "foretold_low_at = coalesce(a.foretold_low_at, to_timestamp(v.low)), "
            "foretold_high_at = coalesce(a.foretold_high_at, to_timestamp(v.high)) "
            "FROM unnest(%s::bigint[], %s::float8[], %s::float8[]) AS v(id, low, high) JOIN held USING (id) "
            "WHERE a.id = v.id",
            [
                list(starts),
                list(starts),
                [start.low_at if start else None for start in starts.values()],
                [start.high_at if start else None for start in starts.values()],
            ],
        )
