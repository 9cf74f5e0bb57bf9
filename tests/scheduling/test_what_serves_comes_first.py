"""What serves starts ahead of all that waits, makes others leave where it must, and counts as no job."""

from dataclasses import replace

import pytest

from apps.resources.scheduling import (
    Demand,
    Limits,
    Planner,
    PolicySettings,
    Priority,
    Request,
    Resources,
    Snapshot,
    Team,
)
from apps.resources.scheduling.forecast import forecast
from tests.scheduling.pools import ALL_POLICIES, node, request, runs_for

CORE = 1000


def service(request_id: int, cpu: int = CORE, *, team: int = 1, at: float = 0.0, memory: int = 0) -> Request:
    demand = Demand(cpu_millicores=cpu, memory_bytes=memory, is_service=True)
    return Request(request_id, team, demand, at, is_preemptible=False, estimate=runs_for(1e9))


def pool(policy: str, *waiting: Request, teams: dict[int, Team] | None = None, cpu: int = CORE) -> Planner:
    settings = PolicySettings(policy, min_runtime_seconds=60.0)
    return Planner(Snapshot(0.0, [node(1, 1, cpu=cpu)], waiting, (), teams or {}, settings))


def started(planner: Planner, now: float = 1.0) -> list[int]:
    return [grant.request_id for grant in planner.decide(now).grants]


@pytest.mark.parametrize("policy", ALL_POLICIES)
def test_it_starts_before_work_that_is_older_and_of_a_higher_class(policy):
    older = [request(i, 0, cpu=CORE, priority=Priority.HIGH, team=2, at=-1e4) for i in (1, 2, 3)]
    assert started(pool(policy, *older, service(9))) == [9]


@pytest.mark.parametrize("policy", ALL_POLICIES)
def test_it_starts_before_work_that_starves(policy):
    planner = pool(policy, request(1, 0, cpu=CORE), service(9, at=1e9))
    assert started(planner, 1e9) == [9]


@pytest.mark.parametrize("policy", ALL_POLICIES)
def test_a_job_leaves_for_it_once_it_had_its_time(policy):
    planner = pool(policy, request(1, 0, cpu=CORE, estimate=runs_for(1e5)))
    assert started(planner) == [1]
    planner.submit(service(9, at=2.0))
    assert not planner.decide(30.0).evictions
    assert [(one.request_id, one.for_request_id, one.code) for one in planner.decide(90.0).evictions] == [
        (1, 9, "serving")
    ]
    planner.finish(1)
    planner.submit(request(2, 0, cpu=CORE, priority=Priority.HIGH, at=0.0))
    assert started(planner, 91.0) == [9]


@pytest.mark.parametrize("policy", ALL_POLICIES)
def test_a_job_that_may_not_be_preempted_stays(policy):
    planner = pool(policy, request(1, 0, cpu=CORE, is_preemptible=False))
    assert started(planner) == [1]
    planner.submit(service(9, at=2.0))
    decided = planner.decide(1e4)
    assert not decided.evictions and [item.reason.code for item in decided.waiting] == ["cpu_busy"]


@pytest.mark.parametrize("policy", ALL_POLICIES)
def test_nothing_makes_it_leave(policy):
    planner = pool(policy, service(1))
    assert started(planner) == [1]
    planner.change_team(Team(2, guaranteed=Resources(cpu_millicores=CORE)))
    planner.submit(request(2, 0, cpu=CORE, team=2, priority=Priority.HIGH))
    planner.submit(service(3, team=2))
    assert not planner.decide(1e9).evictions


@pytest.mark.parametrize("policy", ALL_POLICIES)
def test_it_takes_none_of_the_jobs_at_once(policy):
    teams = {1: Team(1, limit=Limits(jobs=1), user_limit=Limits(jobs=1))}
    waiting = [service(1), service(2), request(3, 0, cpu=CORE), request(4, 0, cpu=CORE), service(5, at=5.0)]
    planner = pool(policy, *waiting, teams=teams, cpu=8 * CORE)
    assert sorted(started(planner)) == [1, 2, 3, 5]
    planner.finish(1)
    planner.finish(3)
    assert started(planner, 2.0) == [4]


@pytest.mark.parametrize("policy", ALL_POLICIES)
def test_it_keeps_to_the_limits_of_its_team_on_cpu(policy):
    teams = {1: Team(1, limit=Limits(cpu_millicores=CORE))}
    planner = pool(policy, service(1), service(2), teams=teams, cpu=8 * CORE)
    decided = planner.decide(1.0)
    assert len(decided.grants) == 1 and decided.waiting[0].reason.code == "team_limit"
    assert decided.waiting[0].reason.numbers == {
        "resource": "cpu_millicores", "asks": CORE, "limit": CORE, "in_use": CORE
    }  # fmt: skip


@pytest.mark.parametrize("policy", ALL_POLICIES)
def test_a_spent_budget_stops_jobs_and_not_what_serves(policy):
    teams = {1: Team(1, is_budget_spent=True, credits=9.0)}
    assert started(pool(policy, service(1), request(2, 0, cpu=CORE), teams=teams, cpu=8 * CORE)) == [1]


@pytest.mark.parametrize("policy", ALL_POLICIES)
def test_what_was_guaranteed_to_others_stays_free_for_them(policy):
    teams = {2: Team(2, guaranteed=Resources(cpu_millicores=CORE))}
    planner = pool(policy, service(1), service(2), teams=teams, cpu=2 * CORE)
    decided = planner.decide(1.0)
    assert len(decided.grants) == 1 and decided.waiting[0].reason.code == "promised"


def test_replicas_are_spread_over_machines():
    machines = [node(number, 1, cpu=4 * CORE) for number in (1, 2)]
    planner = Planner(Snapshot(0.0, machines, [service(1), service(2)]))
    assert {grant.placements[0].node_id for grant in planner.decide(0.0).grants} == {1, 2}


@pytest.mark.parametrize(
    ("asked", "resource"), [({"cpu": 9 * CORE}, "cpu_millicores"), ({"memory": 2 << 30}, "memory_bytes")]
)
def test_what_no_machine_could_hold_says_of_which_it_is_too_much(asked, resource):
    planner = pool("fifo", service(1, **asked))
    reason = planner.decide(0.0).waiting[0].reason
    assert reason.code == "too_large_for_any_node" and reason.numbers["resource"] == resource
    assert reason.numbers["asks"] > reason.numbers["largest_node"]


@pytest.mark.parametrize("policy", ALL_POLICIES)
def test_a_planner_that_is_made_anew_goes_on_as_before(policy):
    planner = pool(policy, service(1), replace(service(2), submitted_at=1.0), request(3, 0, cpu=CORE))
    planner.decide(1.0)
    fresh = Planner(planner.snapshot(2.0))
    assert list(fresh.decide(2.0).waiting) == list(planner.decide(2.0).waiting)


def test_of_what_waits_for_it_to_end_nothing_is_foretold():
    planner = pool("fifo", service(1), request(2, 0, cpu=CORE), request(3, 0, cpu=1))
    planner.decide(1.0)
    snapshot = planner.snapshot(2.0)
    assert forecast(replace(snapshot, requests=(*snapshot.requests, service(4)))) == {}


@pytest.mark.parametrize("policy", ALL_POLICIES)
def test_one_that_waits_for_others_that_serve_holds_up_nobody(policy):
    """Room that would be kept for it until these end would be kept for ever."""
    settings = PolicySettings(policy, min_runtime_seconds=60.0, starvation_seconds=1e9)
    machine = node(1, 2, cpu=4 * CORE)
    planner = Planner(Snapshot(0.0, [machine], [service(1, 3 * CORE)], (), {2: Team(2, credits=9.0)}, settings))
    assert started(planner) == [1]
    planner.submit(request(2, 1, team=2, at=2.0, estimate=runs_for(5000.0), bid=1.0))
    assert started(planner, 3.0) == [2]
    planner.submit(service(3, 3 * CORE, at=4.0))
    planner.submit(request(4, 2, team=2, at=5.0, estimate=runs_for(9000.0), bid=1.0))
    assert started(planner, 6.0) == []
    planner.finish(2)
    assert started(planner, 7.0) == [4]
