"""Records add up by day, team, person, job and kind; the numbers were worked out by hand."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.resources.chart import PLOT, round_up, stacked
from apps.resources.periods import Period, days_between
from apps.resources.usage import GB, MONTH_SECONDS, NETWORK, STORAGE, Line, Use, add_up, capacity_seconds, lines_of

MAY = days_between(date(2026, 5, 1), date(2026, 5, 31), UTC)
FIRST, SECOND = date(2026, 5, 1), date(2026, 5, 2)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def use(start: str, end: str, *, devices: int = 1, busy: float = 1.0, cost: str = "0", **keys) -> Use:
    seconds = devices * (at(end) - at(start)).total_seconds()
    who = {"team_id": 1, "user_id": 7, "job_id": 3, "kind": "cuda"} | keys
    return Use(
        started_at=at(start),
        ended_at=at(end),
        device_seconds=seconds,
        busy_seconds=seconds * busy,
        cost=Decimal(cost),
        **who,
    )


def test_a_record_over_midnight_counts_on_both_days():
    lines = lines_of([use("2026-05-01T18:00", "2026-05-02T02:00", devices=2, busy=0.5, cost="16")], MAY, UTC)
    by_day = add_up(lines, lambda line: line.day)
    assert (by_day[FIRST].device_hours, by_day[FIRST].busy_hours, by_day[FIRST].device_cost) == (12, 6, 12)
    assert (by_day[SECOND].device_hours, by_day[SECOND].idle_cost, by_day[SECOND].cost) == (4, 2, 4)


def test_of_a_record_only_what_lies_in_the_period_counts():
    lines = list(lines_of([use("2026-04-30T12:00", "2026-05-01T12:00", cost="10")], MAY, UTC))
    assert [(line.day, line.device_seconds, line.cost) for line in lines] == [(FIRST, 12 * 3600, Decimal(5))]
    assert not list(lines_of([use("2026-04-01T00:00", "2026-05-01T00:00")], MAY, UTC))


def test_idle_cost_goes_record_by_record():
    """A dear device that idles beside a cheap one that works costs what the dear one does."""
    dear = use("2026-05-01T00:00", "2026-05-01T10:00", busy=0.1, cost="100")
    cheap = use("2026-05-01T00:00", "2026-05-01T10:00", busy=1.0, cost="1")
    total = add_up(lines_of([dear, cheap], MAY, UTC), lambda _line: None)[None]
    assert (float(total.idle_cost), total.device_cost, total.busy_fraction) == (pytest.approx(90), 101, 0.55)


def test_storage_and_network_stand_beside_devices():
    lines = [
        Line(day=FIRST, team_id=1, about=STORAGE, byte_seconds=2 * GB * MONTH_SECONDS / 4, cost=Decimal("0.5")),
        Line(day=FIRST, team_id=1, about=NETWORK, sent_bytes=3 * GB, cost=Decimal("0.25")),
        *lines_of([use("2026-05-01T00:00", "2026-05-01T01:00", cost="4")], MAY, UTC),
    ]
    total = add_up(lines, lambda line: line.team_id)[1]
    assert (total.gb_months, total.sent_bytes, total.storage_cost, total.network_cost) == (0.5, 3 * GB, 0.5, 0.25)
    assert (total.device_cost, total.cost, total.idle_cost) == (4, Decimal("4.75"), 0)


def test_nothing_held_is_neither_busy_nor_idle():
    light = use("2026-05-01T00:00", "2026-05-01T01:00", devices=0)
    total = add_up(lines_of([light], MAY, UTC), lambda _line: None)[None]
    assert (total.busy_fraction, total.idle_cost, total.device_hours) == (None, 0, 0)


def test_machines_count_from_when_they_joined_to_when_they_left():
    machines = [
        (2, at("2026-04-01T00:00"), at("2026-05-02T00:00")),
        (1, at("2026-05-31T12:00"), at("2026-06-09T00:00")),
        (8, at("2026-06-01T00:00"), at("2026-06-09T00:00")),
    ]
    assert capacity_seconds(machines, MAY) == (2 * 24 + 12) * 3600


MINUTES = st.integers(0, 90 * 24 * 60)


@given(st.lists(st.tuples(MINUTES, st.integers(1, 5000), st.integers(0, 3), st.integers(0, 500)), max_size=4))
def test_all_days_together_are_the_whole(rows):
    start = at("2026-05-01T00:00").timestamp()
    uses = []
    for begin, length, devices, cents in rows:
        started = datetime.fromtimestamp(start + begin * 60, UTC)
        ended = datetime.fromtimestamp(start + (begin + length) * 60, UTC)
        uses.append(Use(1, 1, 1, "cpu", started, ended, devices * length * 60.0, 0.0, Decimal(cents) / 100))
    period = Period(at("2026-05-01T00:00"), at("2027-05-01T00:00"))
    lines = list(lines_of(uses, period, UTC))
    assert sum(line.device_seconds for line in lines) == pytest.approx(sum(use.device_seconds for use in uses))
    assert float(sum(line.cost for line in lines)) == pytest.approx(float(sum(use.cost for use in uses)))


def chart_of(values: dict, days: int = 2):
    shown = [date(2026, 5, 1 + n) for n in range(days)]
    names = {key: f"team {key}" for _day, key in values}
    return stacked(values, shown, names, others="others", write=lambda value: f"{value:g}", write_day=str)


def test_bars_are_stacked_from_the_foot_and_never_leave_the_plot():
    chart = chart_of({(FIRST, 1): 30.0, (FIRST, 2): 10.0, (SECOND, 2): 5.0})
    first, second = chart.bars
    assert [(part.series, part.height) for part in first.parts] == [(0, 66.0), (1, 22.0)]
    assert first.parts[-1].y == 0 and second.parts[0].y + second.parts[0].height == pytest.approx(PLOT)
    assert chart.ticks == ["40", "30", "20", "10", "0"] and chart.legend == [(0, "team 1"), (1, "team 2")]
    assert first.title == "2026-05-01: 40\nteam 1: 30\nteam 2: 10"


def test_beyond_six_keys_the_smallest_are_drawn_as_one():
    chart = chart_of({(FIRST, n): float(n) for n in range(1, 11)})
    assert [name for _series, name in chart.legend][-2:] == ["team 5", "others"]
    assert sum(part.height for part in chart.bars[0].parts) == pytest.approx(PLOT * 55 / 60, abs=0.01)


def test_there_is_no_chart_of_nothing():
    assert chart_of({(FIRST, 1): 0.0}) is None and chart_of({}) is None


@given(st.floats(1e-6, 1e9))
def test_a_scale_ends_just_above_the_value(value):
    assert value <= round_up(value) * (1 + 1e-6) <= 2.6 * value
