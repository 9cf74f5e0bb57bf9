"""Stretches of time in the site's time zone: months, days, and what falls on which. Pure; moments come back in UTC,
because Python subtracts two moments of one zone by their clocks' faces, which is an hour wrong where summer begins."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo

DAY = timedelta(days=1)
MAX_DAYS = 366
THIS_MONTH, LAST_MONTH, CUSTOM = "month", "last-month", "custom"
LAST_DAYS = {"7d": 7, "30d": 30, "90d": 90}


@dataclass(frozen=True)
class Period:
    """From `start` up to, but not with, `end`."""

    start: datetime
    end: datetime

    def days(self, zone: tzinfo) -> list[date]:
        first, last = _day_of(self.start, zone), _day_of(self.end - timedelta(microseconds=1), zone)
        return [first + n * DAY for n in range((last - first).days + 1)]


def midnight(day: date, zone: tzinfo) -> datetime:
    """The beginning of `day`."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def _day_of(moment: datetime, zone: tzinfo) -> date:
    return moment.astimezone(zone).date()


def days_between(first: date, last: date, zone: tzinfo) -> Period:
    """The days from `first` to `last`, both whole."""
    return Period(midnight(first, zone), midnight(last + DAY, zone))


def month_of(moment: datetime, zone: tzinfo) -> Period:
    """The calendar month that `moment` lies in."""
    first = _day_of(moment, zone).replace(day=1)
    following = (first + 31 * DAY).replace(day=1)
    return Period(midnight(first, zone), midnight(following, zone))


def named_period(name: str, now: datetime, zone: tzinfo) -> Period:
    """`month`, `last-month`, `7d`, `30d` or `90d`, today included; raises KeyError for another name."""
    if name == THIS_MONTH:
        return month_of(now, zone)
    if name == LAST_MONTH:
        return month_of(month_of(now, zone).start - timedelta(microseconds=1), zone)
    today = _day_of(now, zone)
    return days_between(today - (LAST_DAYS[name] - 1) * DAY, today, zone)


def split_by_day(start: datetime, end: datetime, zone: tzinfo) -> Iterator[tuple[date, float]]:
    """Each day that the time from `start` to `end` touches, with its seconds of that time."""
    while start < end:
        day = _day_of(start, zone)
        until = min(end, midnight(day + DAY, zone))
        yield day, (until - start).total_seconds()
        start = until
