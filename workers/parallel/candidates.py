"""For each strategy the best plan there is on given devices, what it takes and holds, or why it cannot be. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from workers.parallel.costs import (
    BUCKET_BYTES,
    OUTER_COPIES,
    all_gather_seconds,
    all_reduce_seconds,
    compute_seconds,
    control_seconds,
    exposed_seconds,
    kept_micro_batches,
    norm_seconds,
    replica_bytes,
    send_seconds,
    sharded_bytes,
    stage_bytes,
    statistics_seconds,
    update_seconds,
)
from workers.parallel.cutting import cut_layers
from workers.parallel.facts import Data, Device, Layer, Links, ModelProfile, Settings
from workers.parallel.plan import DDP, FSDP, LOCAL_SGD, PIPELINE, SINGLE, STRATEGIES, ParallelPlan

EVEN_WITHIN = 1.1  # devices whose speeds differ less than this take even shares
SYNC_CHOICES = (4, 8, 16, 32, 64, 128, 256, 512)
SYNC_SHARE = 0.1  # of a step is what synchronising may add before it is done more seldom
# Fewer examples make batch normalisation's statistics poor (Wu and He 2018, "Group normalization", figure 1).
WELL_NORMALISED = 8
LEAST_NORMALISED = 2  # batch normalisation cannot learn from one example


@dataclass(frozen=True)
class Verdict:
    """Why a plan was taken or not: a stable code, and its numbers."""

    code: str
    numbers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """What one rank does: its layers (all, unless it is a pipeline), the examples of a step that it takes, the memory
    that needs of what the device has, and how long it computes."""

    node: str
    index: int
    kind: str
    layers: tuple[str, ...]
    examples: float
    memory_bytes: int
    available_bytes: int
    compute_seconds: float


@dataclass(frozen=True)
class Candidate:
    """A plan with its price, or without a plan the verdict why there is none.

    `step_seconds` is how long the training takes over one batch of the size that was asked for; `communication_seconds`
    of it are waiting for the network, and `bubble` is the part in which the stages of a pipeline are idle.
    """

    strategy: str
    plan: ParallelPlan | None = None
    step_seconds: float = math.inf
    communication_seconds: float = 0.0
    bubble: float = 0.0
    parts: tuple[Part, ...] = ()
    verdict: Verdict | None = None

    @property
    def memory_bytes(self) -> int:
        return max((part.memory_bytes for part in self.parts), default=0)


@dataclass(frozen=True)
class Setting:
    """Everything that a plan is made from."""

    profile: ModelProfile
    devices: tuple[Device, ...]
    links: Links
    data: Data
    settings: Settings

    @property
    def world_size(self) -> int:
        return len(self.devices)

    @property
    def batch_size(self) -> int:
        """A batch holds no more than there is."""
        return min(self.settings.batch_size, max(1, self.data.examples))

    @property
    def least_examples(self) -> int:
        return LEAST_NORMALISED if self.profile.norms else 1

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(layer.name for layer in self.profile.layers)


def normalised_examples(candidate: Candidate) -> float:
    """How many examples each batch normalisation of a plan sees at once: a micro-batch of all ranks together, or one of
    the rank's own in local SGD and where the plan says so."""
    parts = [part.examples for part in candidate.parts]
    is_own = candidate.strategy in (LOCAL_SGD, PIPELINE) or candidate.plan.own_statistics
    whole = min(parts) if is_own else sum(parts)
    return whole / candidate.plan.accumulation


def is_well_normalised(candidate: Candidate, setting: Setting) -> bool:
    if not setting.profile.norms:
        return True
    return normalised_examples(candidate) >= min(WELL_NORMALISED, setting.batch_size)


def candidates(setting: Setting) -> tuple[Candidate, ...]:
    """One for each strategy, in their order."""
    makers = {SINGLE: _single, DDP: _ddp, FSDP: _fsdp, PIPELINE: _pipeline, LOCAL_SGD: _local_sgd}
    return tuple(makers[strategy](setting) for strategy in STRATEGIES)


def shares_of(devices: Sequence[Device]) -> tuple[float, ...]:
    """Each device's part of the examples by its speed; empty where they are about equally fast."""
    speeds = [device.speed for device in devices]
    if max(speeds) < EVEN_WITHIN * min(speeds):
        return ()
    return tuple(speed / sum(speeds) for speed in speeds)


def _refuse(strategy: str, code: str, **numbers: Any) -> Candidate:
    return Candidate(strategy, verdict=Verdict(code, numbers))


def _needs_devices(setting: Setting, strategy: str) -> Candidate | None:
    if setting.world_size < 2:
        return _refuse(strategy, "needs_more_devices", devices=setting.world_size, needs=2)
    least = setting.least_examples * setting.world_size
    if strategy != PIPELINE and setting.batch_size < least:
        return _refuse(strategy, "batch_too_small", batch_size=setting.batch_size, needs=least)
    return None


# How a batch is cut so that it fits


def _powers(highest: float) -> Iterator[int]:
    power = 1
    while power <= max(1, highest):
        yield power
        power *= 2


@dataclass(frozen=True)
class _Fit:
    accumulation: int
    memory: tuple[int, ...]


def _does_not_fit(setting: Setting, strategy: str, memory: Sequence[int], devices: Sequence[Device]) -> Candidate:
    short = max(range(len(devices)), key=lambda rank: memory[rank] - devices[rank].memory_bytes)
    return _refuse(
        strategy, "does_not_fit", needs_bytes=memory[short], has_bytes=devices[short].memory_bytes,
        node=devices[short].node, index=devices[short].index,
    )  # fmt: skip


def _fit_batch(setting: Setting, devices: Sequence[Device], examples: Sequence[float], memory: Callable) -> _Fit:
    """The fewest micro-batches with which every device can hold `memory(examples at once)`, or the most possible."""
    for accumulation in _powers(min(examples) / setting.least_examples):
        held = tuple(memory(math.ceil(count / accumulation)) for count in examples)
        fit = _Fit(accumulation, held)
        if all(size <= device.memory_bytes for size, device in zip(held, devices, strict=True)):
            break
    return fit


def _fits(fit: _Fit, devices: Sequence[Device]) -> bool:
    return all(size <= device.memory_bytes for size, device in zip(fit.memory, devices, strict=True))


def _calls_seconds(setting: Setting, examples: float, accumulation: int, device: Device) -> float:
    """All micro-batches of a step one after the other, with the reading of their examples."""
    call = compute_seconds(setting.profile.layers, examples / accumulation, device)
    return accumulation * call + examples * setting.profile.loading_seconds / device.speed


def _parts(
    setting: Setting, devices: Sequence[Device], examples: Sequence[float], memory: Sequence[int],
    seconds: Sequence[float],
) -> tuple[Part, ...]:  # fmt: skip
    return tuple(
        Part(device.node, device.index, device.kind, setting.names, count, held, device.memory_bytes, spent)
        for device, count, held, spent in zip(devices, examples, memory, seconds, strict=True)
    )


# The strategies


@dataclass(frozen=True)
class Waiting:
    """What communication adds to a step, and what of the plan was chosen for it."""

    seconds: float
    chosen: Mapping[str, Any] = field(default_factory=dict)


def _single(setting: Setting) -> Candidate:
    """All on the device that is fastest among those where it fits."""
    best, short = Candidate(SINGLE), None
    for device in setting.devices:
        examples = [float(setting.batch_size)]
        fit = _fit_batch(setting, [device], examples, lambda n: replica_bytes(setting.profile, setting.settings, n))
        if not _fits(fit, [device]):
            refused = _does_not_fit(setting, SINGLE, fit.memory, [device])
            lacks = fit.memory[0] - device.memory_bytes
            short = min(short or (lacks, refused), (lacks, refused), key=lambda item: item[0])
            continue
        spent = _calls_seconds(setting, examples[0], fit.accumulation, device)
        step = spent + update_seconds(setting.profile, setting.settings, device)
        if step < best.step_seconds:
            parts = _parts(setting, [device], examples, fit.memory, [spent])
            best = Candidate(SINGLE, ParallelPlan(accumulation=fit.accumulation), step, parts=parts)
    return best if best.plan or short is None else short[1]


def _ddp(setting: Setting) -> Candidate:
    """Every rank holds the model; gradients are averaged once a step."""

    def communicate(compute: float, accumulation: int) -> Waiting:
        size, world, link = setting.profile.parameter_bytes, setting.world_size, setting.links.ring(setting.devices)
        last = all_reduce_seconds(min(size, BUCKET_BYTES), world, link)
        last_call = compute / accumulation  # only the last backward of a step is accompanied
        gradients = exposed_seconds(all_reduce_seconds(size, world, link), last, last_call, setting.devices)
        if setting.settings.own_statistics:
            return Waiting(gradients + statistics_seconds(setting.profile, world, link), {"own_statistics": True})
        return Waiting(gradients + accumulation * norm_seconds(setting.profile, world, link))

    return _replicated(setting, DDP, communicate, lambda n: replica_bytes(setting.profile, setting.settings, n))


def _fsdp(setting: Setting) -> Candidate:
    """Every rank holds a part of every layer: layers are gathered for forward and again for backward, and gradients
    scattered, for each micro-batch."""

    def communicate(compute: float, accumulation: int) -> Waiting:
        link, world = setting.links.ring(setting.devices), setting.world_size
        gathers = [all_gather_seconds(layer.parameter_bytes, world, link) for layer in setting.profile.layers]
        once = exposed_seconds(3 * sum(gathers), max(gathers), compute / accumulation, setting.devices)
        return Waiting(accumulation * (once + norm_seconds(setting.profile, world, link)))

    def memory(examples: int) -> int:
        return sharded_bytes(setting.profile, setting.settings, examples, setting.world_size)

    return _replicated(setting, FSDP, communicate, memory, update_share=1 / setting.world_size)


def _local_sgd(setting: Setting) -> Candidate:
    """Every rank trains on its own, and all meet after `sync_every` steps (DiLoCo)."""

    def communicate(compute: float, accumulation: int) -> Waiting:
        link = setting.links.ring(setting.devices)
        seconds = all_reduce_seconds(setting.profile.parameter_bytes, setting.world_size, link)
        sync_every = next((h for h in SYNC_CHOICES if seconds / h <= SYNC_SHARE * compute), SYNC_CHOICES[-1])
        return Waiting(seconds / sync_every, {"sync_every": sync_every, "sharding": setting.settings.sharding})

    def memory(examples: int) -> int:
        return replica_bytes(setting.profile, setting.settings, examples, OUTER_COPIES)

    return _replicated(setting, LOCAL_SGD, communicate, memory)


def _replicated(
    setting: Setting,
    strategy: str,
    communicate: Callable[[float, int], Waiting],
    memory: Callable[[int], int],
    *,
    update_share: float = 1.0,
) -> Candidate:
    """A strategy whose ranks each take a share of the examples through the whole model."""
    if refused := _needs_devices(setting, strategy):
        return refused
    devices = setting.devices
    shares = shares_of(devices)
    examples = [setting.batch_size * share for share in shares or [1 / len(devices)] * len(devices)]
    if min(examples) < setting.least_examples:  # the slow ones would have none: all the same then
        shares, examples = (), [setting.batch_size / len(devices)] * len(devices)
    fit = _fit_batch(setting, devices, examples, memory)
    if not _fits(fit, devices):
        return _does_not_fit(setting, strategy, fit.memory, devices)
    spent = [
        _calls_seconds(setting, count, fit.accumulation, device)
        for count, device in zip(examples, devices, strict=True)
    ]
    waiting = communicate(max(spent), fit.accumulation)
    update = max(update_seconds(setting.profile, setting.settings, device, update_share) for device in devices)
    plan = ParallelPlan(strategy, len(devices), fit.accumulation, shares=shares, **waiting.chosen)
    parts = _parts(setting, devices, examples, fit.memory, spent)
    told = waiting.seconds + control_seconds(len(devices), setting.links.ring(devices))
    return Candidate(strategy, plan, max(spent) + told + update, told, parts=parts)


def _pipeline(setting: Setting) -> Candidate:
    """Consecutive layers on each device; the number of micro-batches is the one with the shortest step."""
    if refused := _needs_devices(setting, PIPELINE):
        return refused
    if len(setting.profile.layers) < setting.world_size:
        layers = len(setting.profile.layers)
        return _refuse(PIPELINE, "too_few_layers", layers=layers, devices=setting.world_size)
    found = [_cut(setting, count) for count in _powers(setting.batch_size / setting.least_examples)]
    fitting = [item for item in found if item.plan]
    fitting = [item for item in fitting if is_well_normalised(item, setting)] or fitting
    return min(fitting, key=lambda item: item.step_seconds) if fitting else found[-1]


def _cut(setting: Setting, micro_batches: int) -> Candidate:
    """The best pipeline with so many micro-batches. All stages together take one micro-batch's time through all, and
    the slowest stage's for each further one; with equal stages the bubble is (p - 1) / (m + p - 1)."""
    profile, devices, settings = setting.profile, setting.devices, setting.settings
    examples = setting.batch_size / micro_batches

    def layers(begin: int, end: int) -> tuple[Layer, ...]:
        return profile.layers[begin:end]

    def memory(begin: int, end: int, stage: int) -> int:
        kept = kept_micro_batches(stage, len(devices), micro_batches)
        return stage_bytes(profile, begin, end, settings, math.ceil(examples), kept)

    def sending(end: int, stage: int) -> float:
        if stage == len(devices) - 1:
            return 0.0
        return send_seconds(profile.layers[end - 1], examples, setting.links.link(devices[stage], devices[stage + 1]))

    def seconds(begin: int, end: int, stage: int) -> float:
        return compute_seconds(layers(begin, end), examples, devices[stage]) + sending(end, stage)

    def fits(begin: int, end: int, stage: int) -> bool:
        return memory(begin, end, stage) <= devices[stage].memory_bytes

    cut = cut_layers(len(profile.layers), len(devices), seconds, fits)
    if cut is None:
        return _pipeline_does_not_fit(setting, seconds, memory)
    stages = [seconds(begin, end, stage) for stage, (begin, end) in enumerate(cut)]
    held = [memory(begin, end, stage) for stage, (begin, end) in enumerate(cut)]
    flow = _flow_seconds(stages, micro_batches)
    busy = [seconds(begin, end, stage) - sending(end, stage) for stage, (begin, end) in enumerate(cut)]
    update = max(
        update_seconds(profile, settings, device, _share_of_parameters(profile, layers(*ends)))
        for device, ends in zip(devices, cut, strict=True)
    )
    told = control_seconds(len(devices), setting.links.ring(devices))
    loading = setting.batch_size * profile.loading_seconds / devices[0].speed
    waiting = flow - _flow_seconds(busy, micro_batches) + told
    names = tuple(tuple(layer.name for layer in layers(*ends)) for ends in cut)
    parts = tuple(
        Part(device.node, device.index, device.kind, stage, float(setting.batch_size), size, device.memory_bytes,
             micro_batches * compute_seconds(layers(*ends), examples, device))
        for device, stage, size, ends in zip(devices, names, held, cut, strict=True)
    )  # fmt: skip
    plan = ParallelPlan(PIPELINE, len(devices), micro_batches, stages=names)
    bubble = 1 - micro_batches * sum(stages) / (len(stages) * flow) if flow else 0.0
    return Candidate(PIPELINE, plan, flow + update + told + loading, waiting, bubble, parts)


def _flow_seconds(stages: Sequence[float], micro_batches: int) -> float:
    """Through all stages once, and for each further micro-batch the slowest one."""
    return sum(stages) + (micro_batches - 1) * max(stages)


def _share_of_parameters(profile: ModelProfile, layers: Sequence[Layer]) -> float:
    return sum(layer.parameters for layer in layers) / max(1, sum(layer.parameters for layer in profile.layers))


def _pipeline_does_not_fit(setting: Setting, seconds, memory) -> Candidate:
    """Of the cut by time alone, the stage that lacks most."""
    cut = cut_layers(len(setting.profile.layers), setting.world_size, seconds, lambda *_: True)
    held = [memory(begin, end, stage) for stage, (begin, end) in enumerate(cut)]
    return _does_not_fit(setting, PIPELINE, held, setting.devices)
