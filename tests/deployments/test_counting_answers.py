"""Answers counted in memory and added up in Valkey."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import RedisError

from apps.core.valkey import valkey
from apps.deployments import counting
from apps.deployments.counting import Count, Source, Tally, bucket_of, figures_lately, figures_since
from apps.deployments.judging import Figures

NOW = 1_800_000_000.0
STABLE, CANARY = Source(1, 10, 7), Source(1, 11, 7)


def tally_of(*answers: tuple[Source, float, bool]) -> Tally:
    tally = Tally()
    for source, seconds, is_error in answers:
        tally.add(source, seconds, is_error=is_error)
    return tally


@given(st.lists(st.floats(0.0001, 600), min_size=1, max_size=200))
def test_a_percentile_is_that_of_the_sorted_latencies_within_the_width_of_a_bucket(latencies):
    tally = tally_of(*((STABLE, seconds, False) for seconds in latencies))
    found = tally.take()[STABLE].figures()
    for part, value in ((0.5, found.p50_seconds), (0.95, found.p95_seconds), (0.99, found.p99_seconds)):
        exact = sorted(latencies)[math.ceil(part * len(latencies)) - 1]
        assert value == pytest.approx(exact, rel=0.026)


@given(st.lists(st.floats(0, 10_000), max_size=50), st.lists(st.floats(0, 10_000), max_size=50))
def test_counts_of_two_servers_add_up_to_those_of_one(left, right):
    one = tally_of(*((STABLE, seconds, False) for seconds in [*left, *right])).take().get(STABLE, Count())
    total = Count()
    for part in (left, right):
        total.add(tally_of(*((STABLE, seconds, False) for seconds in part)).take().get(STABLE, Count()))
    assert total.figures() == one.figures()


def test_a_longer_latency_never_stands_in_a_lower_bucket():
    buckets = [bucket_of(seconds) for seconds in (0, 0.0001, 0.001, 0.01, 0.1, 1, 10, 1e9)]
    assert buckets == sorted(buckets)


def test_what_was_counted_is_added_to_both_sums():
    tally = tally_of((STABLE, 0.01, False), (STABLE, 0.01, True), (CANARY, 0.2, False))
    assert tally.flush(now=NOW) == {1}
    tally.add(STABLE, 0.01, is_error=False)
    tally.flush(now=NOW + 1)
    since = figures_since([STABLE, CANARY])
    assert (since[10].answers, since[10].errors) == (3, 1)
    assert since[11].p99_seconds == pytest.approx(0.2, rel=0.026)
    assert figures_lately(1, [10, 11], now=NOW, seconds=300) == since


def test_the_last_minutes_forget_and_the_sum_since_a_change_does_not():
    tally_of((STABLE, 0.01, False)).flush(now=NOW)
    assert figures_lately(1, [10], now=NOW + 299, seconds=300)[10].answers == 1
    assert figures_lately(1, [10], now=NOW + 320, seconds=300)[10] == Figures()
    assert figures_since([STABLE])[10].answers == 1


def test_after_a_change_everything_is_counted_anew():
    tally_of((STABLE, 0.01, False)).flush(now=NOW)
    assert figures_since([Source(1, 10, 8)])[10] == Figures()


def test_what_cannot_be_written_down_is_written_the_next_time(monkeypatch):
    tally = tally_of((STABLE, 0.01, True))

    def fail(*_args, **_options):
        raise RedisError("away")

    with monkeypatch.context() as patch:
        patch.setattr(counting, "add_counts", fail)
        with pytest.raises(RedisError):
            tally.flush(now=NOW)
    tally.add(STABLE, 0.01, is_error=False)
    tally.flush(now=NOW)
    assert (figures_since([STABLE])[10].answers, figures_since([STABLE])[10].errors) == (2, 1)


def test_nothing_stays_in_valkey_for_ever():
    tally_of((STABLE, 0.01, False)).flush(now=NOW)
    keys = valkey().keys("serving:*")
    assert len(keys) == 2
    assert all(valkey().ttl(key) > 0 for key in keys)
