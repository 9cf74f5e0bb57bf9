"""A plan was made for the devices that were asked for; what is granted may be others, fewer or more."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.parallel.models import any_devices, machines, model, plan, profiles
from workers.parallel.plan import DDP, FSDP, LOCAL_SGD, PIPELINE, SINGLE, ParallelPlan
from workers.parallel.planner import plan_for_grant


def test_the_same_devices_keep_the_plan():
    for strategy in (SINGLE, DDP, FSDP, PIPELINE, LOCAL_SGD):
        made = plan(model(), machines(2), forced=strategy).plan
        granted = plan_for_grant(made, machines(2), model())
        assert granted == made


def test_on_one_device_it_trains_alone_with_micro_batches_as_small_as_before():
    made = ParallelPlan(DDP, 4, accumulation=2)
    assert plan_for_grant(made, machines(1), model()) == ParallelPlan(accumulation=8)


def test_with_fewer_devices_each_takes_more_micro_batches():
    made = ParallelPlan(FSDP, 4, accumulation=1)
    granted = plan_for_grant(made, machines(2), model())
    assert (granted.world_size, granted.accumulation, granted.shares) == (2, 2, ())


def test_other_devices_have_shares_by_their_own_speed():
    granted = plan_for_grant(ParallelPlan(DDP, 2), machines(2, speeds=(1.0, 3.0)), model())
    assert granted.shares == (0.25, 0.75)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_a_pipeline_is_cut_anew(count):
    made = plan(model(8), machines(4), forced=PIPELINE).plan
    granted = plan_for_grant(made, machines(count), model(8))
    assert granted.world_size == len(granted.stages) == count
    assert [name for stage in granted.stages for name in stage] == [f"features.{n}" for n in range(8)]


def test_a_pipeline_has_no_more_ranks_than_layers():
    made = ParallelPlan(PIPELINE, 2, stages=(("features.0",), ("features.1",)))
    assert plan_for_grant(made, machines(4), model(2)).world_size == 2


@settings(max_examples=60)
@given(profiles, any_devices(), st.sampled_from([DDP, FSDP, LOCAL_SGD, PIPELINE, SINGLE]), st.integers(1, 8))
def test_every_grant_gives_a_plan_that_can_be_carried_out(profile, devices, strategy, accumulation):
    names = tuple((layer.name,) for layer in profile.layers)
    world = 1 if strategy == SINGLE else len(names) if strategy == PIPELINE else 3
    if strategy == PIPELINE and world == 1:
        return
    made = ParallelPlan(strategy, world, accumulation, stages=names if strategy == PIPELINE else ())
    granted = plan_for_grant(made, devices, profile)
    assert granted.world_size <= len(devices)
    assert ParallelPlan.from_dict(granted.as_dict()) == granted
