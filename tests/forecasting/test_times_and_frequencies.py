"""Times are read as people write them, and how far apart they are is found."""

from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.series.frequency import BUSINESS_DAY, MONTH, SECOND, STEP, Frequency, infer_frequency
from workers.series.regular import LAST, MEAN, SEASON, SUM, ZERO, find_season, merge, regularise
from workers.series.splitting import cut_times, is_by_time, split_by_time
from workers.series.times import find_clock

DAYS = [str(date(2024, 1, 1) + timedelta(days=number)) for number in range(60)]


@pytest.mark.parametrize(
    ("times", "form"),
    [
        (["2024-05-31", "2024-06-01"], "iso"),
        (["2024-05-31T10:00:00", "2024-05-31T11:00:00"], "iso"),
        (["31.05.2024", "01.06.2024"], "%d.%m.%Y"),
        (["05/31/2024", "06/01/2024"], "%m/%d/%Y"),
        (["31/05/2024 10:00", "01/06/2024 11:00"], "%d/%m/%Y %H:%M"),
        (["2024-05", "2024-06"], "%Y-%m"),
        (["20240531", "20240601"], "%Y%m%d"),
        (["1", "2", "3"], "number"),
        (["2001", "2002"], "number"),
    ],
)
def test_times_are_written_again_as_they_were_read(times, form):
    clock = find_clock(times)
    assert clock.form == form
    ticks = clock.read(times)
    assert (np.diff(ticks) > 0).all()
    assert [clock.write(tick) for tick in ticks] == times


def test_words_are_no_times():
    assert find_clock(["north", "south"]) is None


def ticks_of(texts):
    return find_clock(texts).read(texts)


@pytest.mark.parametrize(
    ("texts", "unit", "count", "seasons"),
    [
        (DAYS, SECOND, 86400, (7, 364)),
        ([day for day in DAYS if date.fromisoformat(day).weekday() < 5], BUSINESS_DAY, 1, (5, 260)),
        (DAYS[::7], SECOND, 7 * 86400, (52,)),
        ([f"2024-01-{day:02}T{hour:02}:00:00" for day in (1, 2, 3) for hour in range(24)], SECOND, 3600, (24, 168)),
        ([f"{2019 + month // 12}-{month % 12 + 1:02}" for month in range(30)], MONTH, 1, (12,)),
        (["2023-01-31", "2023-02-28", "2023-03-31", "2023-04-30", "2023-05-31"], MONTH, 1, (12,)),
        (["2022-02-01", "2022-05-01", "2022-08-01", "2022-11-01", "2023-02-01"], MONTH, 3, (4,)),
    ],
)  # fmt: skip
def test_how_far_apart_times_are_is_found(texts, unit, count, seasons):
    ticks = ticks_of(texts)
    frequency = infer_frequency([ticks], is_number=False)
    assert (frequency.unit, frequency.count, frequency.seasons) == (unit, count, seasons)
    periods = frequency.periods(ticks)
    assert (np.diff(periods) == 1).all()
    assert np.array_equal(frequency.ticks(periods), ticks)


def test_numbered_steps_have_no_calendar():
    frequency = infer_frequency([np.arange(0, 100, 5.0)], is_number=True)
    assert (frequency.unit, frequency.count, frequency.seasons) == (STEP, 5.0, ())


@given(st.sampled_from([Frequency(SECOND, 3600), Frequency(MONTH, 1, day=31), Frequency(BUSINESS_DAY, 1),
                        Frequency(MONTH, 3, anchor=1.0), Frequency(STEP, 2.5, anchor=1.0)]),
       st.integers(100, 6_000))  # fmt: skip
def test_a_period_is_found_again_from_when_it_begins(frequency, period):
    assert frequency.periods(frequency.ticks(np.array([period]))).tolist() == [period]


def test_the_season_of_numbered_steps_is_where_they_are_most_alike():
    wave = np.sin(2 * np.pi * np.arange(120) / 11) + 0.05 * np.random.default_rng(0).normal(size=120)
    assert find_season([wave], ()) == 11
    assert find_season([np.random.default_rng(0).normal(size=120)], ()) == 1


def test_rows_of_one_time_become_one():
    periods, values = np.array([3, 1, 3, 1]), np.array([4.0, 1.0, 6.0, 3.0])
    for how, expected in ((MEAN, [2.0, 5.0]), (SUM, [4.0, 10.0]), ("last", [3.0, 6.0])):
        assert merge(periods, values, how)[1].tolist() == expected


def test_gaps_are_filled_from_what_was_before():
    periods, values = np.array([10, 11, 12, 15]), np.array([1.0, 2.0, 3.0, 9.0])
    for filling, expected in ((SEASON, [2.0, 3.0]), (LAST, [3.0, 3.0]), (ZERO, [0.0, 0.0])):
        first, full, known = regularise(periods, values, filling, 2)
        assert (first, full[3:5].tolist(), known.tolist()) == (10, expected, [True, True, True, False, False, True])


@given(st.lists(st.integers(0, 200), min_size=2, max_size=60))
def test_no_time_of_the_training_part_comes_after_one_of_the_test(days):
    ticks = np.array(days, dtype=float)
    splits = split_by_time(ticks, (0.8, 0.1, 0.1))
    assert is_by_time(ticks, splits.tolist())
    from_val, from_test = cut_times(ticks, (0.8, 0.1, 0.1))
    assert (splits[ticks >= from_test] == "test").all() and from_val <= from_test
    assert not (len(set(days)) > 2) or {"train", "test"} <= set(splits)


def test_a_split_that_is_not_by_time_is_noticed():
    ticks = np.arange(6.0)
    assert is_by_time(ticks, ["train", "train", "val", "val", "test", "test"])
    assert not is_by_time(ticks, ["train", "test", "train", "val", "val", "test"])
