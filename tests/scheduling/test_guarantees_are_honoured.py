"""What was promised to a team is there when it asks: it comes first, reclaims, and cannot be blocked by borrowers."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.resources.scheduling import Planner, PolicySettings, Priority, Resources, Snapshot, Team, plan
from tests.scheduling.pools import ALL_POLICIES, node, request


@pytest.mark.parametrize("policy", ALL_POLICIES)
@given(
    guaranteed=st.integers(1, 8),
    share=st.integers(1, 8),
    borrowers=st.lists(st.integers(1, 4), min_size=8, max_size=20),
    is_preemptive=st.booleans(),
)
@settings(max_examples=25)
def test_a_request_inside_its_guarantee_starts_or_borrowers_leave_for_it(
    policy, guaranteed, share, borrowers, is_preemptive
):
    asks = min(share, guaranteed)
    teams = {1: Team(1, guaranteed=Resources(devices=guaranteed))}
    rules = PolicySettings(policy, is_preemptive=is_preemptive, min_runtime_seconds=600)
    work = [request(100 + i, size, team=2, priority=Priority.HIGH, bid=9.0) for i, size in enumerate(borrowers)]
    planner = Planner(Snapshot(0.0, [node(1), node(2)], work, (), teams, rules))
    planner.decide(0.0)
    planner.submit(request(1, asks, at=700.0, priority=Priority.LOW))
    decided = planner.decide(700.0)
    started = {grant.request_id for grant in decided.grants}
    helped = {eviction.for_request_id for eviction in decided.evictions if eviction.code == "reclaimed"}
    assert 1 in started | helped


@pytest.mark.parametrize("policy", ALL_POLICIES)
@given(
    guaranteed=st.integers(1, 14),
    borrowers=st.lists(st.tuples(st.integers(1, 4), st.booleans()), min_size=4, max_size=20),
)
@settings(max_examples=25)
def test_work_that_cannot_be_preempted_never_blocks_a_guarantee(policy, guaranteed, borrowers):
    teams = {1: Team(1, guaranteed=Resources(devices=guaranteed))}
    work = [
        request(100 + i, size, team=2, is_preemptible=is_preemptible)
        for i, (size, is_preemptible) in enumerate(borrowers)
    ]
    rules = PolicySettings(policy, min_runtime_seconds=0)
    planner = Planner(Snapshot(0.0, [node(1), node(2)], work, (), teams, rules))
    planner.decide(0.0)
    for number in range(1, guaranteed + 1):
        planner.submit(request(number, 1, at=1.0))
    for eviction in planner.decide(10.0).evictions:
        planner.finish(eviction.request_id)
    planner.decide(11.0)
    assert all(number in planner.claims for number in range(1, guaranteed + 1))


@pytest.mark.parametrize("policy", ALL_POLICIES)
def test_who_is_inside_its_guarantee_goes_before_any_borrower(policy):
    teams = {1: Team(1, guaranteed=Resources(devices=8))}
    work = [request(1, 8, team=2, priority=Priority.HIGH, bid=9.0), request(2, 8, at=5.0, priority=Priority.LOW)]
    decided = plan(Snapshot(10.0, [node(1)], work, (), teams, PolicySettings(policy)))
    assert [grant.request_id for grant in decided.grants] == [2]


@pytest.mark.parametrize("policy", ("priority", "fair_share"))
def test_what_is_idle_is_borrowed_in_proportion_to_weight(policy):
    teams = {1: Team(1, weight=1.0), 2: Team(2, weight=3.0)}
    work = [request(i, 1, team=1 + i % 2, at=float(i)) for i in range(1, 33)]
    decided = plan(Snapshot(100.0, [node(1), node(2)], work, (), teams, PolicySettings(policy)))
    heavier = sum(1 for grant in decided.grants if 1 + grant.request_id % 2 == 2)
    assert (len(decided.grants), heavier) == (16, 12)
