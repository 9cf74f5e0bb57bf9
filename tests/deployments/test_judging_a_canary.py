"""When a canary is stopped, decided from numbers alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.deployments.judging import LATENCY_FLOOR_SECONDS, Figures, Limits, why_to_stop

LIMITS = Limits()


@st.composite
def figures(draw) -> Figures:
    answers = draw(st.integers(0, 10_000))
    latency = draw(st.one_of(st.none(), st.floats(0.0001, 60)))
    return Figures(answers, draw(st.integers(0, answers)), p99_seconds=latency)


def test_twelve_errors_in_sixty_answers_stop_it():
    reason = why_to_stop(Figures(60, 12), Figures(540, 0), LIMITS)
    assert reason == "12 of its 60 answers were server errors (20.0 %); of the stable version's 0.0 %."


def test_a_slow_one_is_stopped_with_both_latencies():
    reason = why_to_stop(Figures(60, 0, p99_seconds=0.21), Figures(540, 0, p99_seconds=0.1), LIMITS)
    assert "210 ms" in reason and "100 ms" in reason


@given(figures(), figures())
def test_before_it_has_answered_enough_it_is_not_judged(canary, stable):
    limits = Limits(min_answers=canary.answers + 1)
    assert why_to_stop(canary, stable, limits) == ""


@given(figures())
def test_what_does_as_the_stable_version_does_goes_on(stable):
    assert why_to_stop(stable, stable, LIMITS) == ""


@given(figures(), figures())
def test_what_is_better_in_both_goes_on(canary, stable):
    is_no_worse = canary.error_percent <= stable.error_percent
    is_no_slower = None in (canary.p99_seconds, stable.p99_seconds) or canary.p99_seconds <= stable.p99_seconds
    if is_no_worse and is_no_slower:
        assert why_to_stop(canary, stable, LIMITS) == ""


@given(figures(), figures(), st.integers(1, 100))
def test_more_errors_never_save_it(canary, stable, more):
    worse = Figures(canary.answers, min(canary.answers, canary.errors + more), p99_seconds=canary.p99_seconds)
    assert not why_to_stop(canary, stable, LIMITS) or why_to_stop(worse, stable, LIMITS)


@given(figures(), figures(), st.floats(1, 10))
def test_being_slower_never_saves_it(canary, stable, times):
    if canary.p99_seconds is not None:
        slower = Figures(canary.answers, canary.errors, p99_seconds=canary.p99_seconds * times)
        assert not why_to_stop(canary, stable, LIMITS) or why_to_stop(slower, stable, LIMITS)


@given(figures(), figures())
def test_a_wider_limit_stops_no_more(canary, stable):
    wide = Limits(max_error_points=20, max_latency_factor=20)
    assert not why_to_stop(canary, stable, wide) or why_to_stop(canary, stable, LIMITS)


@pytest.mark.parametrize(("errors", "is_stopped"), [(2, False), (3, True)])
def test_two_points_more_errors_are_allowed(errors, is_stopped):
    assert bool(why_to_stop(Figures(100, errors), Figures(100, 0), LIMITS)) is is_stopped


@pytest.mark.parametrize(
    ("ours", "theirs", "is_stopped"),
    [(0.049, 0.001, False), (0.051, 0.001, True), (0.2, 0.1, False), (0.2, 0.099, True)],
)
def test_twice_as_slow_counts_only_above_the_floor(ours, theirs, is_stopped):
    canary, stable = Figures(100, 0, p99_seconds=ours), Figures(100, 0, p99_seconds=theirs)
    assert bool(why_to_stop(canary, stable, LIMITS)) is is_stopped
    assert LATENCY_FLOOR_SECONDS == 0.05


def test_without_answers_of_the_stable_version_only_errors_are_judged():
    assert why_to_stop(Figures(100, 0, p99_seconds=9.0), Figures(), LIMITS) == ""
    assert why_to_stop(Figures(100, 3, p99_seconds=9.0), Figures(), LIMITS)
