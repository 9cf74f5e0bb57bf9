"""Nobody is sent away but for somebody who then really fits; who is sent away may be, and was given its time."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.resources.scheduling import Planner, PolicySettings, Priority, Resources, Snapshot, Team, plan
from tests.scheduling.pools import ALL_POLICIES, held_by, node, request, runs_for, snapshots


@pytest.mark.parametrize("policy", ALL_POLICIES)
@given(data=st.data())
@settings(max_examples=25)
def test_once_the_victims_are_gone_the_beneficiaries_start(policy, data):
    snapshot = data.draw(snapshots(policy))
    planner = Planner(snapshot)
    evictions = planner.decide(snapshot.now).evictions
    for eviction in evictions:
        planner.finish(eviction.request_id)
    started = {grant.request_id for grant in planner.decide(snapshot.now).grants}
    assert {eviction.for_request_id for eviction in evictions} <= started


@pytest.mark.parametrize("policy", ALL_POLICIES)
@given(data=st.data())
@settings(max_examples=25)
def test_victims_may_be_preempted_and_had_their_time_and_their_team_keeps_its_guarantee(policy, data):
    snapshot = data.draw(snapshots(policy))
    running = {one.request.id: one for one in snapshot.running}
    asks = {request.id: request for request in snapshot.requests}
    evictions = plan(snapshot).evictions
    gone = {eviction.request_id for eviction in evictions}
    assert len(gone) == len(evictions)
    for eviction in evictions:
        victim = running[eviction.request_id]
        assert victim.request.is_preemptible and victim.leaving_for is None
        assert snapshot.now - victim.started_at >= snapshot.settings.min_runtime_seconds
        assert eviction.code == "reclaimed" or snapshot.settings.is_preemptive
        team = snapshot.teams.get(victim.request.team_id, Team(victim.request.team_id))
        if asks[eviction.for_request_id].team_id != team.id:
            keeps = [
                one.request
                for one in snapshot.running
                if one.request.team_id == team.id and one.leaving_for is None and one.request.id not in gone
            ]
            if victim.request.demand.devices:
                assert held_by(keeps)[0] >= team.guaranteed.devices


@pytest.mark.parametrize("policy", ALL_POLICIES)
@pytest.mark.parametrize(("guaranteed", "victims"), [(8, 0), (6, 1), (4, 2), (0, 4)])
def test_others_take_no_more_from_a_team_than_it_holds_beyond_its_guarantee(policy, guaranteed, victims):
    settings = PolicySettings(policy, min_runtime_seconds=0, starvation_seconds=100.0)
    teams = {1: Team(1, credits=1e6), 2: Team(2, weight=0.01, guaranteed=Resources(guaranteed))}
    held = [request(i, 2, team=2, priority=Priority.LOW, at=1.0, estimate=runs_for(1e6)) for i in range(1, 5)]
    planner = Planner(Snapshot(1.0, [node(1)], held, (), teams, settings))
    planner.decide(1.0)
    for number in range(11, 19):  # better-ranked under every policy, or starving
        planner.submit(request(number, 2, priority=Priority.HIGH, bid=5.0, estimate=runs_for(10.0)))
    gone = set()
    for step in range(8):
        for eviction in planner.decide(1000.0 + step).evictions:
            gone.add(eviction.request_id)
            planner.finish(eviction.request_id)
    assert len(gone) == victims


@pytest.mark.parametrize("policy", ALL_POLICIES)
def test_nothing_is_sent_away_that_is_not_needed(policy):
    settings = PolicySettings(policy, min_runtime_seconds=0)
    planner = Planner(Snapshot(0.0, [node(1)], [request(i, 2, team=2) for i in range(1, 5)], (), TEAMS, settings))
    planner.decide(0.0)
    planner.submit(request(9, 2, team=1, at=1.0))
    assert len(planner.decide(1000.0).evictions) == 1


@pytest.mark.parametrize("policy", ALL_POLICIES)
def test_nobody_is_sent_away_before_its_time(policy):
    held = [request(1, 8, team=2, at=0.0)]
    planner = Planner(Snapshot(0.0, [node(1)], held, (), TEAMS, PolicySettings(policy, min_runtime_seconds=600)))
    planner.decide(0.0)
    planner.submit(request(2, 4, at=1.0))
    assert not planner.decide(599.0).evictions
    assert [eviction.request_id for eviction in planner.decide(600.0).evictions] == [1]


def test_whoever_need_not_go_after_all_is_put_back():
    held = [request(i, i, team=2) for i in (1, 2, 3)] + [request(4, 2, team=2, is_preemptible=False)]
    teams = {1: Team(1, guaranteed=Resources(5))}
    planner = Planner(Snapshot(0.0, [node(1)], held, (), teams, PolicySettings(min_runtime_seconds=0)))
    planner.decide(0.0)
    planner.submit(request(9, 5, at=1.0))
    assert {eviction.request_id for eviction in planner.decide(1.0).evictions} == {2, 3}


def test_room_that_is_being_freed_is_kept_for_whom_it_is_freed():
    settings = PolicySettings("priority", min_runtime_seconds=0)
    low = [request(i, 4, priority=Priority.LOW) for i in (1, 2)]
    planner = Planner(Snapshot(0.0, [node(1)], low, (), {}, settings))
    planner.decide(0.0)
    planner.submit(request(3, 8, at=1.0, priority=Priority.HIGH))
    decided = planner.decide(1000.0)
    assert {eviction.request_id for eviction in decided.evictions} == {1, 2}
    assert decided.waiting[0].reason.code == "being_freed"
    planner.finish(1)
    planner.submit(request(4, 4, at=0.5, priority=Priority.HIGH))
    decided = planner.decide(1001.0)
    assert not decided.grants and not decided.evictions
    planner.finish(2)
    assert [grant.request_id for grant in planner.decide(1002.0).grants] == [3]


@pytest.mark.parametrize("policy", ALL_POLICIES)
def test_two_works_do_not_send_each_other_away_for_ever(policy):
    settings = PolicySettings(policy, min_runtime_seconds=10, starvation_seconds=1e9)
    work = [request(1, 8, team=1, bid=1.0), request(2, 8, team=2, at=1.0, bid=1.05)]
    planner = Planner(Snapshot(0.0, [node(1)], work, (), {}, settings))
    evictions = 0
    for step in range(30):
        now = 100.0 * step
        for eviction in planner.decide(now).evictions:
            claim = planner.claims[eviction.request_id]
            evictions += 1
            planner.finish(eviction.request_id)
            attained = claim.attained_seconds(now)
            planner.submit(replace(claim.request, waiting_since=now, attained_seconds=attained))
    assert evictions <= 2


TEAMS = {1: Team(1, guaranteed=replace(Team(1).guaranteed, devices=4))}
