"""Which strategy a training is spread by, and why not by another. Pure: the same facts always give the same answer."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

from workers.parallel.candidates import (
    WELL_NORMALISED,
    Candidate,
    Setting,
    Verdict,
    candidates,
    is_well_normalised,
    normalised_examples,
    shares_of,
)
from workers.parallel.costs import compute_seconds
from workers.parallel.cutting import cut_layers
from workers.parallel.facts import Data, Device, Links, ModelProfile, Settings
from workers.parallel.plan import DDP, FSDP, LOCAL_SGD, PIPELINE, SINGLE, STRATEGIES, ParallelPlan

# Of plans about equally fast the simplest is taken.
SIMPLEST_FIRST = (SINGLE, DDP, FSDP, PIPELINE)
EQUALLY_FAST = 1.05
# Local SGD is another training: it is chosen by itself only where exact plans reach less than this part of its speed.
EXACT_IS_WORTH = 0.5
MOSTLY_WAITING = 0.5


@dataclass(frozen=True)
class Proposal:
    """What was chosen, and every strategy's candidate with its verdict.

    Without a `chosen` one, `refusal` says why: of the strategy that was asked for, or that it fits nowhere.
    `single_seconds` is a step on the fastest one of the devices, infinite where it fits on none.
    """

    candidates: tuple[Candidate, ...]
    chosen: Candidate | None
    refusal: Verdict | None
    notes: tuple[Verdict, ...]
    is_forced: bool
    is_measured: bool
    single_seconds: float

    @property
    def plan(self) -> ParallelPlan | None:
        return self.chosen.plan if self.chosen else None

    def speedup(self, candidate: Candidate) -> float | None:
        """Against one device; None where it fits on none, or the candidate has no plan."""
        if not candidate.plan or math.isinf(self.single_seconds):
            return None
        return self.single_seconds / candidate.step_seconds

    def of(self, strategy: str) -> Candidate:
        return next(item for item in self.candidates if item.strategy == strategy)

    @property
    def best_split(self) -> Candidate | None:
        """The fastest exact plan over all devices; None where there is none."""
        split = [self.of(name) for name in (DDP, FSDP, PIPELINE)]
        return min((item for item in split if item.plan), key=lambda item: item.step_seconds, default=None)


def choose_plan(
    profile: ModelProfile,
    devices: Sequence[Device],
    links: Links,
    data: Data,
    settings: Settings,
    forced: str | None = None,
) -> Proposal:
    """The plan for a training on `devices`, rank by rank; `forced` is a strategy that a person insists on.

    Chosen by itself is the fastest exact plan, the simplest of those within 5 %, with at least 8 examples to each batch
    normalisation where another one has them. Raises ValueError without devices or layers, and for a strategy that does
    not exist.
    """
    if not devices or not profile.layers:
        raise ValueError("A plan needs at least one device and one layer.")
    if forced is not None and forced not in STRATEGIES:
        raise ValueError(f"{forced!r} is not one of {', '.join(STRATEGIES)}.")
    setting = Setting(profile, tuple(devices), links, data, settings)
    found = candidates(setting)
    chosen = next(item for item in found if item.strategy == forced) if forced else _choose(found, setting)
    if chosen is None or chosen.plan is None:
        return _proposal(setting, found, None, chosen.verdict if chosen else _fits_nowhere(found), forced)
    return _proposal(setting, _judge(found, chosen, setting), chosen, None, forced)


def _choose(found: Sequence[Candidate], setting: Setting) -> Candidate | None:
    exact = [item for item in found if item.plan and item.strategy != LOCAL_SGD]
    if not exact:
        return None
    exact = [item for item in exact if is_well_normalised(item, setting)] or exact
    fastest = min(item.step_seconds for item in exact)
    near = [item for item in exact if item.step_seconds <= EQUALLY_FAST * fastest]
    simplest = min(near, key=lambda item: SIMPLEST_FIRST.index(item.strategy))
    local = next(item for item in found if item.strategy == LOCAL_SGD)
    if local.plan and is_well_normalised(local, setting) and local.step_seconds < EXACT_IS_WORTH * fastest:
        return local
    return simplest


def _fits_nowhere(found: Sequence[Candidate]) -> Verdict:
    """The strategy that lacks least says how much that is."""
    lacking = [item.verdict for item in found if item.verdict.code == "does_not_fit"]
    return min(lacking, key=lambda item: item.numbers["needs_bytes"] - item.numbers["has_bytes"])


def _judge(found: Sequence[Candidate], chosen: Candidate, setting: Setting) -> tuple[Candidate, ...]:
    judged = [
        dataclasses.replace(item, verdict=_verdict(item, chosen, setting)) if item.plan else item for item in found
    ]
    return tuple(judged)


def _verdict(item: Candidate, chosen: Candidate, setting: Setting) -> Verdict:
    """Why a plan that could be was not taken."""
    if item.strategy == chosen.strategy:
        return Verdict("chosen")
    factor = item.step_seconds / chosen.step_seconds
    numbers = {"seconds": item.step_seconds, "factor": factor}
    if item.strategy == LOCAL_SGD:
        return Verdict("changes_training", {**numbers, "sync_every": item.plan.sync_every})
    if not is_well_normalised(item, setting) and factor < EQUALLY_FAST:
        numbers |= {"examples": normalised_examples(item), "least": WELL_NORMALISED}
        return Verdict("batch_norm_sees_parts", numbers)
    waiting = item.communication_seconds / item.step_seconds
    if waiting > MOSTLY_WAITING:
        link = setting.links.ring(setting.devices)
        return Verdict("link_too_slow", {**numbers, "share": waiting, "bytes_per_second": link.bytes_per_second})
    if factor > EQUALLY_FAST:
        return Verdict("slower", numbers)
    return Verdict("faster" if factor < 1 / EQUALLY_FAST else "no_gain", numbers)


def _proposal(
    setting: Setting, found: Sequence[Candidate], chosen: Candidate | None, refusal: Verdict | None, forced: str | None
) -> Proposal:
    single = next(item for item in found if item.strategy == SINGLE)
    return Proposal(
        candidates=tuple(found),
        chosen=next((item for item in found if item.strategy == chosen.strategy), None) if chosen else None,
        refusal=refusal,
        notes=tuple(_notes(chosen, setting)) if chosen else (),
        is_forced=forced is not None,
        is_measured=setting.profile.is_measured,
        single_seconds=single.step_seconds,
    )


def _notes(chosen: Candidate, setting: Setting) -> list[Verdict]:
    """What a person should know of the plan that was taken."""
    notes = []
    if setting.profile.norms and (examples := normalised_examples(chosen)) < setting.batch_size:
        notes.append(
            Verdict("batch_norm_sees_parts", {"examples": math.floor(examples), "batch_size": setting.batch_size})
        )
    if chosen.strategy == LOCAL_SGD:
        notes.append(Verdict("changes_training", {"sync_every": chosen.plan.sync_every}))
    if chosen.strategy == SINGLE and setting.world_size > 1:
        notes.append(Verdict("devices_idle", {"devices": setting.world_size - 1}))
    if chosen.strategy != SINGLE and not setting.links.ring(setting.devices).is_measured:
        notes.append(Verdict("link_not_measured"))
    return notes


def plan_for_grant(plan: ParallelPlan, devices: Sequence[Device], profile: ModelProfile) -> ParallelPlan:
    """The same strategy for the devices that were granted, which may be others, fewer or more than were asked for.

    What was chosen for numbers of devices is made anew: shares, stages, and micro-batches no larger than before. One
    device trains alone, and `single` stays so. A pipeline has no more ranks than there are layers; the last devices are
    then left out, which `world_size` says.
    """
    count = min(len(devices), len(profile.layers)) if plan.strategy == PIPELINE else len(devices)
    if plan.strategy == SINGLE:
        return plan
    micro_batches = plan.accumulation * (1 if plan.strategy == PIPELINE else plan.world_size)
    if count == 1:
        return ParallelPlan(accumulation=micro_batches, cpu_offload=plan.cpu_offload)
    if plan.strategy == PIPELINE:
        stages = _stages(profile, devices[:count])
        return dataclasses.replace(plan, world_size=count, stages=stages, shares=())
    accumulation = math.ceil(micro_batches / count)
    return dataclasses.replace(plan, world_size=count, accumulation=accumulation, shares=shares_of(devices))


def _stages(profile: ModelProfile, devices: Sequence[Device]) -> tuple[tuple[str, ...], ...]:
    def seconds(begin: int, end: int, stage: int) -> float:
        return compute_seconds(profile.layers[begin:end], 1, devices[stage])

    cut = cut_layers(len(profile.layers), len(devices), seconds, lambda *_: True)
    return tuple(tuple(layer.name for layer in profile.layers[begin:end]) for begin, end in cut)
