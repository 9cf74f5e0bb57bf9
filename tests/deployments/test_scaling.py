"""How many replicas the load asks for: bounded, calm under a steady load, never fewer for more, at once from zero."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from apps.deployments.scaling import (
    COOL_DOWN_SECONDS,
    DOWN_SECONDS,
    PANIC_FACTOR,
    UP_SECONDS,
    Decision,
    Load,
    Memory,
    Rule,
    Why,
    decide,
)

ONE_TO_EIGHT = Rule(min_replicas=1, max_replicas=8, in_flight=4)
SLEEPER = Rule(min_replicas=0, max_replicas=8, in_flight=4, idle_seconds=300)

rules = st.builds(
    lambda least, more, in_flight, limit, idle: Rule(least, max(1, least + more), in_flight, limit, idle),
    st.integers(0, 4),
    st.integers(0, 6),
    st.floats(0.5, 20),
    st.none() | st.floats(0.01, 2),
    st.floats(60, 900),
)
loads = st.floats(0, 100)
latencies = st.none() | st.floats(0.001, 5)
ready = st.integers(0, 8)


def run(rule: Rule, steps: Iterable[Load], replicas: int, now: float = 1000.0) -> list[Decision]:
    """One look a second."""
    memory, decisions = Memory.fresh(now), []
    for load in steps:
        now += 1
        decisions.append(decide(rule, memory, load, replicas=replicas, now=now))
        memory, replicas = decisions[-1].memory, decisions[-1].replicas
    return decisions


def counts(decisions: list[Decision]) -> list[int]:
    return [decision.replicas for decision in decisions]


def steady(in_flight: float, seconds: int) -> list[Load]:
    return [Load(in_flight)] * seconds


def test_more_load_brings_replicas_after_the_window_for_more():
    found = run(ONE_TO_EIGHT, steady(7, 30), 1)
    assert counts(found)[: int(UP_SECONDS) - 1] == [1] * (int(UP_SECONDS) - 1)
    assert found[int(UP_SECONDS) - 1].why == Why.LOAD
    assert counts(found)[-1] == 2


def test_less_load_takes_them_away_only_after_the_long_window():
    found = run(ONE_TO_EIGHT, steady(1, int(DOWN_SECONDS) + 5), 4)
    assert counts(found)[: int(DOWN_SECONDS) - 1] == [4] * (int(DOWN_SECONDS) - 1)
    assert (counts(found)[-1], found[int(DOWN_SECONDS) - 1].why) == (1, Why.QUIET)


def test_a_short_silence_takes_nothing_away():
    busy, silent = steady(16, 20), steady(0, int(DOWN_SECONDS) - 20)
    assert set(counts(run(ONE_TO_EIGHT, [*busy, *silent, *busy, *silent], 4))) == {4}


def test_a_sudden_rush_is_answered_at_once():
    found = run(ONE_TO_EIGHT, [Load(1), Load(1), Load(20)], 1)
    assert (counts(found), found[-1].why, found[-1].in_flight) == ([1, 1, 5], Why.PANIC, 20)


def test_a_load_that_the_replicas_carry_exactly_asks_for_no_more():
    assert set(counts(run(replace(ONE_TO_EIGHT, in_flight=0.1), steady(0.3, 60), 3))) == {3}


def test_after_a_change_the_next_one_waits():
    rising = [*steady(6, 12), *steady(11, 60)]
    found = run(ONE_TO_EIGHT, rising, 1)
    changes = [number for number, decision in enumerate(found) if decision.why]
    assert counts(found)[-1] == 3
    assert changes[1] - changes[0] >= COOL_DOWN_SECONDS


def test_it_falls_asleep_when_nobody_has_asked_for_long_enough():
    found = run(SLEEPER, [*steady(2, 1), *steady(0, 301)], 1)
    assert [decision.why for decision in found if decision.why] == [Why.IDLE]
    assert found[300].why == Why.IDLE


def test_one_request_wakes_it_at_once_and_it_does_not_fall_asleep_again():
    found = run(SLEEPER, [*steady(0, 400), Load(0.01), *steady(0, 100)], 0)
    assert counts(found)[399:401] == [0, 1]
    assert found[400].why == Why.WOKEN
    assert set(counts(found)[400:]) == {1}


def test_with_at_least_one_replica_it_never_sleeps():
    assert set(counts(run(ONE_TO_EIGHT, steady(0, 2000), 1))) == {1}


def test_slow_answers_bring_replicas_but_no_more_than_there_are_requests():
    rule = replace(ONE_TO_EIGHT, latency_seconds=0.1)
    found = run(rule, [Load(3, p95_seconds=0.2, ready=1)] * 30, 1)
    assert (counts(found)[-1], [item.why for item in found if item.why]) == (2, [Why.LATENCY])
    assert counts(run(rule, [Load(3, p95_seconds=2.0, ready=1)] * 30, 1))[-1] == 3
    assert set(counts(run(rule, [Load(0.5, p95_seconds=2.0, ready=1)] * 30, 1))) == {1}


def test_a_model_slower_than_the_limit_by_itself_is_not_scaled_up_and_down():
    """Four clients, half a second each, one request at a time in a replica, a limit that no number can keep."""
    rule = replace(ONE_TO_EIGHT, latency_seconds=0.1)
    found = closed_loop(rule, clients=4, seconds=0.5, replicas=1)
    assert set(counts(found)[60:]) == {4}


def closed_loop(rule: Rule, *, clients: int, seconds: float, replicas: int, looks: int = 400) -> list[Decision]:
    """Clients that ask again as soon as they are answered; what is started is ready five seconds later."""
    memory, decisions, history = Memory.fresh(0.0), [], [replicas] * 5
    for now in range(1, looks + 1):
        running = max(1, history[-5])
        load = Load(clients, p95_seconds=seconds * max(1.0, clients / running), ready=running)
        decisions.append(decide(rule, memory, load, replicas=history[-1], now=float(now)))
        memory = decisions[-1].memory
        history.append(decisions[-1].replicas)
    return decisions


@given(rules, st.integers(0, 12), st.floats(0.001, 1), st.integers(0, 8))
@example(Rule(0, 3, 2.0, latency_seconds=2.0), 2, 1.0, 3)
def test_under_a_constant_load_it_comes_to_rest(rule, clients, seconds, replicas):
    """From many replicas it may come down one after the other, two minutes each."""
    rule = replace(rule, idle_seconds=120)
    found = counts(closed_loop(rule, clients=clients, seconds=seconds, replicas=replicas, looks=1400))
    assert len(set(found[-200:])) == 1
    settled = found[: -len(found) // 2]
    turns = [after - before for before, after in zip(settled, settled[1:], strict=False) if after != before]
    assert sum(1 for one, two in zip(turns, turns[1:], strict=False) if one * two < 0) <= 1


@given(rules, st.lists(st.tuples(loads, latencies, ready), min_size=1, max_size=200), st.integers(0, 10))
def test_it_stays_within_its_bounds_whatever_comes(rule, steps, replicas):
    for (in_flight, _p95, _ready), decision in zip(
        steps, run(rule, [Load(*step) for step in steps], replicas), strict=True
    ):
        assert rule.min_replicas <= decision.replicas <= rule.max_replicas
        if in_flight > 0:
            assert decision.replicas >= 1


@given(
    rules,
    st.lists(st.tuples(loads, latencies, ready), max_size=150),
    st.integers(0, 8),
    st.tuples(loads, st.floats(0.001, 5), ready),
    st.tuples(st.floats(0, 50), st.floats(0, 5)),
)
def test_more_load_never_brings_fewer_replicas(rule, before, replicas, step, more):
    past = run(rule, [Load(*item) for item in before], replicas)
    memory = past[-1].memory if past else Memory.fresh(1000.0)
    now, replicas = 1001.0 + len(before), past[-1].replicas if past else replicas
    less, larger = Load(*step), Load(step[0] + more[0], step[1] + more[1], step[2])
    found = [decide(rule, memory, load, replicas=replicas, now=now).replicas for load in (less, larger)]
    assert found[0] <= found[1]


@given(rules, st.floats(0.1, 100), st.floats(0, 1))
def test_a_heavier_constant_load_settles_with_no_fewer_replicas(rule, load, part):
    heavy, light = (counts(run(rule, steady(item, 200), 1))[-1] for item in (load, load * part))
    assert light <= heavy


@given(rules, st.lists(st.tuples(loads, latencies, ready), max_size=100), st.floats(0.001, 100))
def test_a_request_to_a_sleeper_starts_a_replica_at_once(rule, before, in_flight):
    rule = replace(rule, min_replicas=0)
    past = run(rule, [Load(*step) for step in before], 1)
    memory = past[-1].memory if past else Memory.fresh(1000.0)
    decision = decide(rule, memory, Load(in_flight), replicas=0, now=1001.0 + len(before))
    assert decision.replicas >= 1
    assert decision.why == Why.WOKEN


@pytest.mark.parametrize("make", [lambda rule: rule.max_replicas, lambda rule: rule.max_replicas + 3])
def test_new_bounds_hold_at_once(make: Callable[[Rule], int]):
    rule = replace(ONE_TO_EIGHT, max_replicas=2)
    assert counts(run(rule, steady(0, 1), make(rule))) == [2]
    assert counts(run(replace(ONE_TO_EIGHT, min_replicas=3), steady(0, 1), 1)) == [3]


def test_a_rush_has_to_be_twice_what_the_replicas_are_meant_for():
    just_under = PANIC_FACTOR * ONE_TO_EIGHT.in_flight * 2 - 0.01
    assert counts(run(ONE_TO_EIGHT, steady(just_under, 1), 2)) == [2]
    assert counts(run(ONE_TO_EIGHT, steady(just_under + 0.01, 1), 2)) == [4]
