"""The first that must wait is promised a start, and only what does not delay it goes before (EASY)."""

import pytest

from apps.resources.scheduling import Estimate, Planner, PolicySettings, Snapshot
from tests.scheduling.pools import node, request, runs_for

POLICIES = ("fifo", "priority", "fair_share", "shortest_predicted")
# Ends within 1,000 seconds in all likelihood, and by expectation; its high end is beyond.
LIKELY_SHORT = Estimate(100.0, 500.0, 2000.0, durations=(100.0, 500.0, 500.0, 2000.0))


def waiting_gang(policy: str, **more: float) -> Planner:
    """Two nodes of 8; half of one is held for 1,000 seconds more, and a gang of both nodes waits."""
    rules = PolicySettings(policy, is_preemptive=False, **more)
    holder = request(1, 4, estimate=runs_for(1000.0))
    planner = Planner(Snapshot(0.0, [node(1), node(2)], [holder], (), {}, rules))
    planner.decide(0.0)
    planner.submit(request(2, 16, at=1.0, nodes=None, estimate=runs_for(10.0)))
    return planner


@pytest.mark.parametrize("policy", POLICIES)
def test_the_gang_is_told_when_it_starts(policy):
    waiting = waiting_gang(policy).decide(10.0).waiting
    assert [(one.request_id, one.starts_at) for one in waiting] == [(2, 1000.0)]


@pytest.mark.parametrize("policy", POLICIES)
def test_what_ends_before_that_goes_first(policy):
    planner = waiting_gang(policy)
    planner.submit(request(3, 8, team=1, at=2.0, estimate=runs_for(600.0)))
    assert [grant.request_id for grant in planner.decide(10.0).grants] == [3]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("estimate", (None, runs_for(5000.0)))
def test_what_would_run_into_it_waits(policy, estimate):
    planner = waiting_gang(policy)
    planner.submit(request(3, 1, team=1, at=2.0, estimate=estimate))
    decided = planner.decide(10.0)
    assert not decided.grants
    assert decided.waiting[1].reason.code == "behind"


@pytest.mark.parametrize("policy", POLICIES)
def test_what_is_only_expected_to_end_before_that_goes_first_where_the_shortest_does(policy):
    planner = waiting_gang(policy)
    planner.submit(request(3, 8, team=1, at=2.0, estimate=LIKELY_SHORT))
    assert bool(planner.decide(10.0).grants) == (policy == "shortest_predicted")


def test_nothing_that_may_be_late_goes_before_a_gang_that_starves():
    planner = waiting_gang("shortest_predicted", starvation_seconds=5.0)
    planner.submit(request(3, 8, team=1, at=9.0, estimate=LIKELY_SHORT))
    decided = planner.decide(10.0)
    assert not decided.grants
    assert [(one.request_id, one.starts_at) for one in decided.waiting] == [(2, 1000.0), (3, None)]


@pytest.mark.parametrize("policy", POLICIES)
def test_a_node_that_the_gang_does_not_need_is_free_for_all(policy):
    planner = waiting_gang(policy)
    planner.change_node(node(3, 2))
    planner.submit(request(3, 2, team=1, at=2.0))
    assert [grant.placements[0].node_id for grant in planner.decide(10.0).grants] == [3]


@pytest.mark.parametrize(
    ("policy", "starvation_seconds", "started"),
    (("shortest_predicted", 1e6, [3]), ("shortest_predicted", 5.0, []), ("fifo", 1e6, []), ("fair_share", 1e6, [])),
)
def test_only_the_shortest_leaves_a_free_node_to_others_where_as_many_come_free_in_time_unless_it_starves(
    policy, starvation_seconds, started
):
    rules = PolicySettings(policy, is_preemptive=False, starvation_seconds=starvation_seconds)
    held = [request(i, 8, estimate=runs_for(1000.0)) for i in (1, 2)]
    planner = Planner(Snapshot(0.0, [node(1), node(2), node(3)], held, (), {}, rules))
    planner.decide(0.0)
    planner.submit(request(10, 16, at=2.0, nodes=None, estimate=runs_for(10.0)))
    planner.submit(request(11, 8, at=3.0))
    decided = planner.decide(10.0)
    assert [grant.placements[0].node_id for grant in decided.grants] == started
    assert (decided.waiting[0].request_id, decided.waiting[0].starts_at) == (10, 1000.0)


@pytest.mark.parametrize("policy", POLICIES)
def test_the_start_comes_nearer_when_others_end_before_their_time(policy):
    rules = PolicySettings(policy, is_preemptive=False)
    held = [request(i, 8, estimate=runs_for(100.0 * i)) for i in (1, 2, 3)]
    planner = Planner(Snapshot(0.0, [node(1), node(2), node(3)], held, (), {}, rules))
    planner.decide(0.0)
    planner.submit(request(9, 16, at=1.0, nodes=None))
    assert planner.decide(10.0).waiting[0].starts_at == 200.0
    planner.finish(3)
    assert planner.decide(20.0).waiting[0].starts_at == 100.0
