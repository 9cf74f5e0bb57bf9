"""The short ways that a round takes, and what a planner remembers, lead to the decisions of the long way."""

import gc
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.resources.scheduling import Demand, Planner, PolicySettings, Request, Snapshot, plan
from tests.scheduling.lives import Life
from tests.scheduling.plainly import decided, decided_plainly
from tests.scheduling.pools import ALL_POLICIES, node, snapshots


@pytest.mark.parametrize("policy", ALL_POLICIES)
@settings(max_examples=25)
@given(data=st.data())
def test_the_long_way_decides_the_same(policy, data):
    planner = Planner(data.draw(snapshots(policy)))
    now = data.draw(st.sampled_from((800.0, 1400.0)))
    assert decided_plainly(planner, now) == decided(planner, now)


@pytest.mark.parametrize("seed", range(13))
@pytest.mark.parametrize("policy", ALL_POLICIES)
def test_a_planner_in_the_midst_of_its_life_decides_as_one_made_anew_does_the_long_way(policy, seed):
    life = Life(policy, seed)
    for _ in range(40):
        life.go_on()
        assert decided_plainly(life.planner, life.now) == decided(life.planner, life.now)


def test_a_plan_leaves_the_collector_of_cycles_as_it_was():
    snapshot = Snapshot(0.0, [node(1)], (Request(1, 1, Demand(1), 0.0),))
    assert gc.isenabled()
    plan(snapshot)
    assert gc.isenabled()
    with pytest.raises(KeyError):
        plan(replace(snapshot, settings=PolicySettings("of no such name")))
    assert gc.isenabled()
    gc.disable()
    try:
        plan(snapshot)
        assert not gc.isenabled()
    finally:
        gc.enable()
