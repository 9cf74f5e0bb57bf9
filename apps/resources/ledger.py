"""Reads what was used in a period as the lines of usage.py: what has ended, and what still runs or lies in storage, up
to now and at today's prices."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, tzinfo

from django.db.models import QuerySet

from apps.resources.models import Allocation, Node, StoredBytes, Traffic, UsageRecord
from apps.resources.periods import Period, split_by_day
from apps.resources.prices import Prices, current_prices
from apps.resources.usage import NETWORK, STORAGE, Line, Use, lines_of

Teams = Collection[int] | None  # None: all


def read_lines(period: Period, *, now: datetime, zone: tzinfo, team_ids: Teams) -> list[Line]:
    prices = current_prices()
    lines = list(lines_of(_ended(period, team_ids), period, zone))
    lines += lines_of(_running(prices, now, team_ids), period, zone)
    lines += _stored(period, prices, now, zone, team_ids)
    lines += _sent(period, zone, team_ids)
    return lines


def _of(rows: QuerySet, team_ids: Teams) -> QuerySet:
    return rows if team_ids is None else rows.filter(team__in=team_ids)


def _ended(period: Period, team_ids: Teams) -> Iterator[Use]:
    rows = _of(UsageRecord.objects.filter(ended_at__gt=period.start, started_at__lt=period.end), team_ids)
    fields = ("team_id", "user_id", "job_id", "device_kind", "started_at", "ended_at")
    for team, user, job, kind, started, ended, *figures in rows.values_list(
        *fields, "device_seconds", "busy_device_seconds", "cost"
    ).iterator():
        yield Use(team, user or 0, job or 0, kind, started, ended, *figures)


def _running(prices: Prices, now: datetime, team_ids: Teams) -> Iterator[Use]:
    rows = _of(Allocation.objects.filter(status=Allocation.Status.GRANTED), team_ids)
    for row in rows.select_related("job").prefetch_related("devices"):
        held = [(device.kind, device.name) for device in row.devices.all()]
        seconds = max(0.0, (now - row.granted_at).total_seconds())
        job = getattr(row, "job", None)
        yield Use(
            team_id=row.team_id,
            user_id=row.user_id or 0,
            job_id=job.pk if job else 0,
            kind=Counter(held).most_common(1)[0][0][0] if held else "",
            started_at=row.granted_at,
            ended_at=now,
            device_seconds=len(held) * seconds,
            busy_seconds=min(row.busy_device_seconds, len(held) * seconds),
            cost=prices.devices(held, seconds),
        )


def _stored(period: Period, prices: Prices, now: datetime, zone: tzinfo, team_ids: Teams) -> Iterator[Line]:
    days = period.days(zone)
    rows = _of(StoredBytes.objects.filter(day__gte=days[0], day__lte=days[-1]), team_ids)
    for team, day, byte_seconds, cost in rows.values_list("team_id", "day", "byte_seconds", "cost"):
        yield Line(day=day, team_id=team, about=STORAGE, byte_seconds=byte_seconds, cost=cost)
    newest = _of(StoredBytes.objects.order_by("team_id", "-day").distinct("team_id"), team_ids)
    for team, size_bytes, measured_at in newest.values_list("team_id", "last_bytes", "measured_at"):
        for day, seconds in split_by_day(max(measured_at, period.start), min(now, period.end), zone):
            kept = size_bytes * seconds
            yield Line(day=day, team_id=team, about=STORAGE, byte_seconds=kept, cost=prices.storage(kept))


def _sent(period: Period, zone: tzinfo, team_ids: Teams) -> Iterator[Line]:
    days = period.days(zone)
    rows = _of(Traffic.objects.filter(day__gte=days[0], day__lte=days[-1]), team_ids)
    for team, day, sent_bytes, cost in rows.values_list("team_id", "day", "sent_bytes", "cost"):
        yield Line(day=day, team_id=team, about=NETWORK, sent_bytes=sent_bytes, cost=cost)


def machines(*, now: datetime) -> list[tuple[int, datetime, datetime]]:
    """Of every machine: its devices, when it joined, and until when it was part of the pool."""
    rows = Node.objects.prefetch_related("devices")
    return [(len(row.devices.all()), row.created_at, row.removed_at or now) for row in rows]


def job_names(job_ids: Iterable[int]) -> dict[int, str]:
    """What jobs are called: as their records say, which outlive them, and as claims that still run do."""
    ids = list(job_ids)
    names = dict(UsageRecord.objects.filter(job_id__in=ids).order_by("pk").values_list("job_id", "job_name"))
    running = Allocation.objects.filter(job__pk__in=ids).values_list("job__pk", "job__name")
    return names | dict(running)
