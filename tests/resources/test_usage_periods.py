"""Days and months begin at midnight in the site's time zone, also where summer begins and ends."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.resources.periods import Period, days_between, midnight, month_of, named_period, split_by_day

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = st.sampled_from([UTC, BERLIN, ZoneInfo("America/St_Johns"), ZoneInfo("Pacific/Apia")])
MOMENTS = st.datetimes(datetime(2009, 1, 1), datetime(2029, 1, 1), timezones=st.just(UTC))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_a_month_begins_at_local_midnight():
    assert month_of(at("2026-06-30T22:30"), BERLIN) == Period(at("2026-06-30T22:00"), at("2026-07-31T22:00"))
    assert month_of(at("2026-06-30T22:30"), UTC) == Period(at("2026-06-01T00:00"), at("2026-07-01T00:00"))


def test_the_named_periods_end_with_today():
    now = at("2026-03-15T10:00")
    assert named_period("7d", now, UTC) == days_between(date(2026, 3, 9), date(2026, 3, 15), UTC)
    assert named_period("last-month", now, UTC) == days_between(date(2026, 2, 1), date(2026, 2, 28), UTC)
    assert len(named_period("90d", now, BERLIN).days(BERLIN)) == 90
    with pytest.raises(KeyError):
        named_period("fortnight", now, UTC)


def test_time_over_midnight_is_divided_among_its_days():
    parts = list(split_by_day(at("2026-06-30T20:00"), at("2026-07-01T23:00"), BERLIN))
    assert parts == [(date(2026, 6, 30), 2 * 3600), (date(2026, 7, 1), 24 * 3600), (date(2026, 7, 2), 3600)]


def test_the_day_on_which_summer_begins_has_23_hours():
    parts = dict(split_by_day(at("2026-03-28T12:00"), at("2026-03-30T12:00"), BERLIN))
    assert parts[date(2026, 3, 29)] == 23 * 3600
    assert dict(split_by_day(at("2026-10-24T12:00"), at("2026-10-26T12:00"), BERLIN))[date(2026, 10, 25)] == 25 * 3600


@given(MOMENTS, st.timedeltas(timedelta(0), timedelta(days=40)), ZONES)
def test_no_second_is_lost_or_counted_twice(start, length, zone):
    parts = list(split_by_day(start, start + length, zone))
    assert sum(seconds for _day, seconds in parts) == pytest.approx(length.total_seconds(), abs=1e-3)
    days = [day for day, _seconds in parts]
    assert days == sorted(set(days)) and all(0 < seconds <= 25 * 3600 for _day, seconds in parts)
    for day, _seconds in parts:
        assert midnight(day, zone) < start + length and midnight(day + timedelta(days=1), zone) > start
