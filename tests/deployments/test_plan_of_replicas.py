"""What to start and what to stop, decided without a database."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.deployments.models import Replica
from apps.deployments.replication import KEPT_ENDED, MAX_STRIKES, Start, Steps, Wanted, describe, plan_steps

Status = Replica.Status


def replica(pk: int, status: str, version: int = 1, strikes: int = 0, reason: str = "") -> Replica:
    return Replica(pk=pk, status=status, version_id=version, strikes=strikes, reason=reason, node_id=1)


def started(steps: Steps) -> int:
    return sum(start.replicas for start in steps.starts)


def test_missing_replicas_are_started():
    assert plan_steps(Wanted(1, 3), [replica(1, Status.READY)]).starts == (Start(1, 2),)


def test_surplus_goes_newest_first_and_what_is_not_ready_before_what_is():
    rows = [replica(1, Status.STARTING), replica(2, Status.READY), replica(3, Status.READY)]
    assert plan_steps(Wanted(1, 1), rows).stop == (3, 1)


def test_the_old_version_stays_until_the_new_one_is_ready():
    old, new = replica(1, Status.READY, version=1), replica(2, Status.STARTING, version=2)
    assert plan_steps(Wanted(2, 1), [old, new]).stop == ()
    assert plan_steps(Wanted(2, 1), [old, replica(2, Status.READY, version=2)]).stop == (1,)


def test_an_old_version_that_is_not_ready_goes_at_once():
    assert plan_steps(Wanted(2, 1), [replica(1, Status.STARTING, version=1)]).stop == (1,)


@pytest.mark.parametrize(("strikes", "start"), [(0, 1), (MAX_STRIKES - 1, 1), (MAX_STRIKES, 0)])
def test_it_is_left_alone_for_a_while_after_three_strikes(strikes, start):
    steps = plan_steps(Wanted(1, 1), [replica(1, Status.FAILED, strikes=strikes)])
    assert steps.starts == ((Start(1, 1, strikes),) if start else ())


@pytest.mark.parametrize(("strikes", "minutes"), [(3, 1), (4, 2), (5, 4), (7, 16), (8, 30), (50, 30)])
def test_then_one_is_tried_after_pauses_that_double_up_to_half_an_hour(strikes, minutes):
    ended = datetime(2026, 1, 1, tzinfo=UTC)
    failed = replica(1, Status.FAILED, strikes=strikes)
    failed.ended_at = ended
    pause = timedelta(minutes=minutes)
    assert not plan_steps(Wanted(1, 2), [failed], now=ended + pause - timedelta(seconds=1))
    assert plan_steps(Wanted(1, 2), [failed], now=ended + pause).starts == (Start(1, 1, strikes),)


def test_the_others_follow_once_the_one_that_was_tried_again_is_ready():
    rows = [replica(1, Status.FAILED, strikes=4), replica(2, Status.STARTING, strikes=4)]
    assert plan_steps(Wanted(1, 3), rows).starts == ()
    rows[1].status = Status.READY
    assert plan_steps(Wanted(1, 3), rows).starts == (Start(1, 2),)


def test_strikes_of_one_version_do_not_count_for_another():
    assert plan_steps(Wanted(2, 1), [replica(1, Status.FAILED, version=1, strikes=MAX_STRIKES)]).starts == (
        Start(2, 1),
    )


def test_old_rows_are_forgotten():
    rows = [replica(number, Status.STOPPED) for number in range(1, KEPT_ENDED + 4)]
    assert plan_steps(Wanted(1, 0), rows).forget == (1, 2, 3)


def test_a_failure_is_told_by_its_first_line():
    failed = replica(1, Status.FAILED, strikes=MAX_STRIKES, reason="The model is damaged.\nTraceback ...")
    assert describe(Wanted(1, 1), [failed]).reason == "The model is damaged."


@given(
    st.integers(0, 3),
    st.lists(st.tuples(st.sampled_from(Status.values), st.integers(1, 2), st.integers(0, MAX_STRIKES)), max_size=8),
)
def test_following_the_plan_ends_with_what_is_wanted(wanted, rows):
    """Whatever stands there at first: if every start succeeds and every stop is obeyed, the plan comes to rest."""
    replicas = [replica(number, status, version, strikes) for number, (status, version, strikes) in enumerate(rows, 1)]
    target = Wanted(1, wanted)
    for _round in range(6):
        steps = plan_steps(target, replicas)
        replicas = [row for row in replicas if row.pk not in steps.forget]
        for row in replicas:
            if row.pk in steps.stop:
                row.status = Status.STOPPED
            elif row.status in (Status.PENDING, Status.STARTING):
                row.status = Status.READY
        first = max((row.pk for row in replicas), default=0) + 1
        replicas += [replica(first + number, Status.PENDING) for number in range(started(steps))]
    ready = [row.version_id for row in replicas if row.status == Status.READY]
    assert not plan_steps(target, replicas)
    assert ready == [1] * wanted or describe(target, replicas).status in ("failed", "ready")


def on(node: int, pk: int, status: str, version: int = 1) -> Replica:
    return Replica(pk=pk, status=status, version_id=version, node_id=node)


def test_a_ready_replica_leaves_a_machine_only_when_another_one_is_ready_elsewhere():
    old = on(1, 1, Status.READY)
    steps = plan_steps(Wanted(1, 1), [old], {1})
    assert (started(steps), steps.stop) == (1, ())
    steps = plan_steps(Wanted(1, 1), [old, on(2, 2, Status.STARTING)], {1})
    assert (started(steps), steps.stop) == (0, ())
    steps = plan_steps(Wanted(1, 1), [old, on(2, 2, Status.READY)], {1})
    assert (started(steps), steps.stop) == (0, (1,))


def test_what_is_only_starting_on_such_a_machine_is_stopped_at_once_and_started_elsewhere():
    steps = plan_steps(Wanted(1, 1), [on(1, 1, Status.STARTING)], {1})
    assert (started(steps), steps.stop) == (1, (1,))


def test_a_move_that_fails_three_times_leaves_the_old_replica_serving():
    failed = Replica(pk=2, status=Status.FAILED, version_id=1, node_id=2, strikes=MAX_STRIKES)
    steps = plan_steps(Wanted(1, 1), [on(1, 1, Status.READY), failed], {1})
    assert (started(steps), steps.stop) == (0, ())


@given(
    st.lists(st.tuples(st.integers(1, 3), st.sampled_from(Status.values), st.integers(1, 2)), max_size=8),
    st.integers(1, 4),
    st.sets(st.integers(1, 3)),
)
def test_moving_never_takes_the_last_ready_replica_away(rows, wanted, leaving):
    replicas = [on(node, pk, status, version) for pk, (node, status, version) in enumerate(rows, start=1)]
    steps = plan_steps(Wanted(1, wanted), replicas, leaving)
    ready = {replica.pk for replica in replicas if replica.status == Status.READY}
    assert not ready or ready - set(steps.stop)


# Several versions


def test_each_version_gets_its_own_replicas():
    steps = plan_steps(Wanted(1, 2, ((2, 1),)), [replica(1, Status.READY, version=1)])
    assert steps == Steps(starts=(Start(1, 1), Start(2, 1)))


def test_a_canary_that_cannot_start_costs_the_stable_version_nothing():
    failed = replica(2, Status.FAILED, version=2, strikes=MAX_STRIKES)
    assert not plan_steps(Wanted(1, 1, ((2, 1),)), [replica(1, Status.READY, version=1), failed])


def test_a_canary_that_is_over_goes_and_one_that_is_not_stays():
    rows = [replica(number, Status.READY, version=number) for number in (1, 2, 3)]
    assert plan_steps(Wanted(1, 1, ((2, 1),)), rows).stop == (3,)


def test_when_a_canary_is_promoted_the_old_version_stays_until_enough_of_the_new_one_are_ready():
    old = [replica(1, Status.READY, version=1), replica(2, Status.READY, version=1)]
    new = replica(3, Status.READY, version=2)
    assert plan_steps(Wanted(2, 2), [*old, new]) == Steps(starts=(Start(2, 1),))
    assert plan_steps(Wanted(2, 2), [*old, new, replica(4, Status.READY, version=2)]).stop == (1, 2)


def test_a_canary_leaves_a_machine_when_its_own_are_ready_elsewhere():
    rows = [on(2, 1, Status.READY, version=1), on(1, 2, Status.READY, version=2)]
    assert plan_steps(Wanted(1, 1, ((2, 1),)), rows, {1}) == Steps(starts=(Start(2, 1),))
    assert plan_steps(Wanted(1, 1, ((2, 1),)), [*rows, on(2, 3, Status.READY, version=2)], {1}).stop == (2,)


@given(
    st.lists(st.tuples(st.sampled_from(Status.values), st.integers(1, 3)), max_size=10),
    st.integers(1, 3),
    st.integers(1, 3),
)
def test_with_a_canary_following_the_plan_ends_with_both_versions(rows, stable, tried):
    replicas = [replica(number, status, version) for number, (status, version) in enumerate(rows, 1)]
    target = Wanted(1, stable, ((2, tried),))
    for _round in range(6):
        was_ready = any(row.status == Status.READY for row in replicas)
        steps = plan_steps(target, replicas)
        for row in replicas:
            if row.pk in steps.stop:
                row.status = Status.STOPPED
        assert not was_ready or any(row.status == Status.READY for row in replicas)
        replicas = [row for row in replicas if row.pk not in steps.forget]
        for row in replicas:
            if row.status in (Status.PENDING, Status.STARTING):
                row.status = Status.READY
        for start in steps.starts:
            first = max((row.pk for row in replicas), default=0) + 1
            replicas += [replica(first + number, Status.PENDING, start.version_id) for number in range(start.replicas)]
    assert not plan_steps(target, replicas)
    ready = sorted(row.version_id for row in replicas if row.status == Status.READY)
    assert ready == [1] * stable + [2] * tried
