"""Every request gets a grant or a reason, and the same snapshot always gets the same plan."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.resources.scheduling import Limits, Snapshot, Team, plan
from tests.scheduling.pools import ALL_POLICIES, fits, left_free, node, request, snapshots

BUSY = {"devices_busy", "cpu_busy", "memory_busy", "fragmented"}


@pytest.mark.parametrize("policy", ALL_POLICIES)
@given(data=st.data())
@settings(max_examples=25)
def test_every_request_gets_a_grant_or_a_reason_and_a_place(policy, data):
    snapshot = data.draw(snapshots(policy))
    decided = plan(snapshot)
    answered = [grant.request_id for grant in decided.grants] + [waiting.request_id for waiting in decided.waiting]
    assert sorted(answered) == sorted(request.id for request in snapshot.requests)
    assert [waiting.place for waiting in decided.waiting] == list(range(1, len(decided.waiting) + 1))


@pytest.mark.parametrize("policy", ALL_POLICIES)
@given(data=st.data())
@settings(max_examples=25)
def test_nobody_is_told_of_a_shortage_that_is_not_there(policy, data):
    snapshot = data.draw(snapshots(policy))
    decided = plan(snapshot)
    nodes = left_free(snapshot, decided)
    demands = {request.id: request.demand for request in snapshot.requests}
    for waiting in decided.waiting:
        if waiting.reason.code in BUSY:
            assert not fits(demands[waiting.request_id], nodes)


@pytest.mark.parametrize("policy", ALL_POLICIES)
@given(data=st.data(), seed=st.integers(0, 99))
@settings(max_examples=15)
def test_the_same_state_gives_the_same_plan_in_whatever_order_it_is_told(policy, data, seed):
    snapshot = data.draw(snapshots(policy))
    shuffled = {}
    for name in ("nodes", "requests", "running"):
        values = list(getattr(snapshot, name))
        random.Random(seed).shuffle(values)
        shuffled[name] = values
    assert plan(replace(snapshot, **shuffled)) == plan(snapshot)


def test_a_limit_is_named_with_its_numbers():
    team = Team(1, limit=Limits(devices=3))
    decided = plan(Snapshot(0.0, [node(1)], [request(1, 2), request(2, 2)], (), {1: team}))
    (waiting,) = decided.waiting
    assert waiting.reason.code == "team_limit"
    assert waiting.reason.numbers == {"resource": "devices", "asks": 2, "limit": 3, "in_use": 2}


def test_who_waits_for_devices_learns_who_holds_them():
    decided = plan(Snapshot(0.0, [node(1)], [request(1, 6), request(2, 4)]))
    assert decided.waiting[0].reason.code == "devices_busy"
    assert decided.waiting[0].reason.holders == (1,)


def test_what_is_free_in_pieces_is_called_fragmented():
    decided = plan(Snapshot(0.0, [node(1), node(2)], [request(1, 5), request(2, 5), request(3, 4)]))
    assert decided.waiting[0].reason.code == "fragmented"
    assert decided.waiting[0].reason.numbers == {"asks": 4, "free": 6, "largest_gap": 3}
