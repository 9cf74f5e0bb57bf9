"""Which way a training is spread, by what the model, the devices and the links between them are like."""

from itertools import combinations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.parallel.models import (
    DATA,
    FAST,
    GB,
    MB,
    SLOW,
    any_devices,
    any_links,
    any_settings,
    machines,
    model,
    network,
    plan,
    profiles,
    seconds,
)
from workers.parallel.candidates import Setting, candidates
from workers.parallel.costs import all_gather_seconds, all_reduce_seconds
from workers.parallel.cutting import cut_layers
from workers.parallel.facts import Link, Links, ModelProfile, Settings
from workers.parallel.plan import DDP, FSDP, LOCAL_SGD, PIPELINE, SINGLE, STRATEGIES, ParallelPlan
from workers.parallel.planner import choose_plan

quick = settings(max_examples=60)


def test_one_device_trains_alone():
    found = plan(model(), machines(1))
    assert found.plan == ParallelPlan()
    assert {item.verdict.code for item in found.candidates if item.strategy != SINGLE} == {"needs_more_devices"}


def test_on_a_fast_link_two_devices_share_the_examples():
    found = plan(model(), machines(2))
    assert found.chosen.strategy == DDP and 1.8 < found.speedup(found.chosen) <= 2
    assert found.of(SINGLE).verdict.code == "slower"
    assert found.of(LOCAL_SGD).verdict.code == "changes_training"


def test_on_a_slow_link_one_device_is_better_and_the_plan_says_why():
    found = plan(model(), machines(2), SLOW)
    assert found.chosen.strategy == SINGLE
    lost = found.of(DDP)
    assert lost.verdict.code == "link_too_slow" and lost.verdict.numbers["share"] > 0.5
    assert found.speedup(lost) < 1 and [note.code for note in found.notes] == ["devices_idle"]


def test_many_devices_on_a_slow_link_train_apart_for_a_while():
    found = plan(model(), machines(8), network(1e7))
    assert found.chosen.strategy == LOCAL_SGD and found.plan.sync_every == 512
    assert "changes_training" in [note.code for note in found.notes]


def test_the_slower_the_link_the_more_seldom_they_meet():
    often = [plan(model(), machines(2), network(speed), LOCAL_SGD).plan.sync_every for speed in (1e10, 1e8, 1e7, 1e6)]
    assert often == sorted(often) and len(set(often)) > 2


def test_what_does_not_fit_on_one_device_is_sharded_or_cut():
    large = model(parameters=50_000_000, activations=1000)  # 6 copies of 1.6 GB
    found = plan(large, machines(4, memory=5 * GB))
    assert found.of(SINGLE).verdict.code == found.of(DDP).verdict.code == "does_not_fit"
    assert found.chosen.strategy in (FSDP, PIPELINE)
    assert found.speedup(found.chosen) is None


def test_what_fits_nowhere_says_so_with_what_it_lacks():
    found = plan(model(parameters=50_000_000), machines(2, memory=GB))
    assert found.plan is None and found.refusal.code == "does_not_fit"
    assert found.refusal.numbers["needs_bytes"] > found.refusal.numbers["has_bytes"] == GB


def test_a_batch_that_is_too_large_is_cut():
    wide = model(activations=20 * MB)  # 160 MB an example: 10 GB for 64 of them
    found = plan(wide, machines(1, memory=6 * GB))
    assert found.plan.accumulation == 2 and found.chosen.memory_bytes <= 6 * GB


def test_faster_devices_take_more_of_the_examples():
    found = plan(model(), machines(2, speeds=(1.0, 3.0)))
    assert found.plan.shares == (0.25, 0.75)
    assert [part.examples for part in found.chosen.parts] == [16, 48]
    assert plan(model(), machines(2, speeds=(1.0, 1.05))).plan.shares == ()


def test_alone_means_on_the_fastest_device():
    found = plan(model(), machines(3, speeds=(1.0, 4.0, 2.0)), forced=SINGLE)
    assert [part.node for part in found.chosen.parts] == ["m1"]


def test_batch_normalisation_over_all_ranks_waits_for_the_network():
    plain, normalised = (plan(model(norms=norms), machines(2), network(1e9, 1e-3)).of(DDP) for norms in (0, 1))
    words = 8 * 2 * 1e-3  # exchanged forward and backward, in each of eight layers
    assert normalised.step_seconds == pytest.approx(plain.step_seconds + words)


def test_ranks_that_normalise_by_their_own_examples_meet_once_a_step():
    whole, own = (
        plan(model(norms=1), machines(2), network(1e9, 1e-3), own_statistics=is_own).of(DDP) for is_own in (False, True)
    )
    assert own.plan.own_statistics and not whole.plan.own_statistics
    assert own.step_seconds == pytest.approx(whole.step_seconds - 8 * 2 * 1e-3 + 2 * 1e-3)


def test_ranks_that_would_normalise_by_very_few_examples_are_not_chosen_by_themselves():
    proposal = plan(model(norms=1), machines(2), FAST, batch_size=8, own_statistics=True)
    assert proposal.chosen.strategy != DDP
    assert proposal.of(DDP).verdict.code == "batch_norm_sees_parts"


def test_batch_normalisation_is_not_starved_where_there_is_another_way():
    normalised = model(norms=1)
    found = plan(normalised, machines(8), network(1e7), batch_size=16)
    assert found.of(LOCAL_SGD).step_seconds < 0.5 * found.chosen.step_seconds
    assert found.chosen.strategy != LOCAL_SGD, "each rank would normalise over two examples"
    pipeline = plan(normalised, machines(2), forced=PIPELINE)
    assert pipeline.plan.accumulation == 8 < plan(model(), machines(2), forced=PIPELINE).plan.accumulation
    assert pipeline.notes[0].numbers == {"examples": 8, "batch_size": 64}


def test_a_pipeline_says_how_long_its_stages_are_idle():
    equal = model(8)
    found = plan(equal, machines(4), forced=PIPELINE)
    m, p = found.plan.accumulation, 4
    assert [len(stage) for stage in found.plan.stages] == [2, 2, 2, 2]
    assert found.chosen.bubble == pytest.approx((p - 1) / (m + p - 1), abs=0.02)


@pytest.mark.parametrize(
    ("strategy", "count", "layers", "batch", "code"),
    [
        (FSDP, 1, 8, 64, "needs_more_devices"),
        (PIPELINE, 4, 3, 64, "too_few_layers"),
        (DDP, 4, 8, 3, "batch_too_small"),
    ],
)
def test_what_cannot_be_done_is_refused_even_when_asked_for(strategy, count, layers, batch, code):
    found = plan(model(layers), machines(count), forced=strategy, batch_size=batch)
    assert found.plan is None and found.refusal.code == code


def test_unknown_strategies_and_no_devices_are_errors():
    with pytest.raises(ValueError, match="not one of"):
        plan(model(), machines(1), forced="magic")
    with pytest.raises(ValueError, match="at least one device"):
        plan(model(), [])


def test_a_ring_moves_what_the_literature_says():
    link = Link(1e9, 0.0)
    assert all_reduce_seconds(1e9, 4, link) == pytest.approx(1.5)
    assert all_gather_seconds(1e9, 4, link) == pytest.approx(0.75)
    assert all_reduce_seconds(0, 4, Link(1e9, 0.01)) == pytest.approx(0.06)


def test_the_slowest_hop_sets_the_pace_of_a_ring():
    devices = machines(3)
    links = Links({("m1", "m2"): Link(10.0, 0.5, True)}, between=Link(1000.0, 0.1, True))
    assert links.ring(devices) == Link(10.0, 0.5, True)
    assert links.ring(devices[:2]) == Link(1000.0, 0.1, True)


# Properties


@quick
@given(st.lists(st.tuples(seconds, st.integers(1, 9)), min_size=1, max_size=8), st.integers(1, 4), st.data())
def test_no_cut_is_better_than_the_one_that_is_found(rows, stages, data):
    assume(len(rows) >= stages)
    room = [data.draw(st.integers(1, 30)) for _ in range(stages)]
    speed = [data.draw(st.floats(0.2, 5)) for _ in range(stages)]

    def takes(begin, end, stage):
        return sum(row[0] for row in rows[begin:end]) / speed[stage]

    def fits(begin, end, stage):
        return sum(row[1] for row in rows[begin:end]) <= room[stage]

    every = [
        tuple(zip((0, *inner), (*inner, len(rows)), strict=True))
        for inner in combinations(range(1, len(rows)), stages - 1)
    ]
    possible = [cut for cut in every if all(fits(*ends, stage) for stage, ends in enumerate(cut))]
    found = cut_layers(len(rows), stages, takes, fits)
    assert (found is None) == (not possible)
    if found:
        assert found in possible

        def slowest(cut):
            return max(takes(*ends, stage) for stage, ends in enumerate(cut))

        assert slowest(found) == min(map(slowest, possible))


@quick
@given(profiles, any_devices(), any_links, any_settings)
def test_no_plan_needs_more_memory_than_there_is(profile, devices, links, chosen):
    for item in candidates(Setting(profile, tuple(devices), links, DATA, chosen)):
        assert (item.plan is None) == (item.verdict is not None)
        assert all(part.memory_bytes <= part.available_bytes for part in item.parts)
        assert item.plan is None or len(item.parts) == item.plan.world_size


@quick
@given(profiles, any_devices(least=2), any_settings, st.floats(1e4, 1e10), st.floats(1, 100))
def test_more_bandwidth_never_makes_ddp_slower(profile, devices, chosen, bandwidth, factor):
    def step(speed):
        links = Links({}, Link(speed, 1e-4), Link(speed, 1e-4))
        return choose_plan(profile, devices, links, DATA, chosen).of(DDP).step_seconds

    assert step(bandwidth * factor) <= step(bandwidth)


@quick
@given(profiles, any_devices(), any_links, any_settings, st.sampled_from([None, *STRATEGIES]))
def test_a_strategy_is_honoured_or_refused_and_the_same_facts_give_the_same_plan(
    profile, devices, links, chosen, forced
):
    found = choose_plan(profile, devices, links, DATA, chosen, forced)
    assert (found.plan is None) == (found.refusal is not None)
    assert found.plan is None or forced in (None, found.plan.strategy)
    assert found == choose_plan(profile, devices, links, DATA, chosen, forced)
    if found.plan and found.plan.strategy == PIPELINE:
        assert [name for stage in found.plan.stages for name in stage] == [layer.name for layer in profile.layers]
    if not forced and found.plan and found.plan.strategy != LOCAL_SGD and not profile.norms:
        fastest = min(item.step_seconds for item in found.candidates if item.strategy != LOCAL_SGD)
        assert found.chosen.step_seconds <= 1.05 * fastest


@quick
@given(profiles)
def test_a_profile_survives_being_written(profile):
    assert ModelProfile.from_dict(profile.as_dict()) == profile


def test_the_memory_counts_every_copy():
    profile = ModelProfile(model(2, parameters=1000, activations=50).layers, base_bytes=7)
    setting = Setting(profile, tuple(machines(2)), FAST, DATA, Settings(10, optimizer_states=2, has_average=True))
    held = {item.strategy: item.memory_bytes for item in candidates(setting)}
    outputs = 2 * 10_000  # the largest output and its gradient
    assert held[SINGLE] == 7 + 8000 * 6 + 10 * (100 + outputs)
    assert held[DDP] == 7 + 8000 * 6 + 5 * (100 + outputs)
    assert held[LOCAL_SGD] == 7 + 8000 * 8 + 5 * (100 + outputs)
    assert held[FSDP] == 7 + 8000 * 3 + 2 * 4000 + 5 * (100 + outputs)
