"""How a training is to be spread over devices: the facts are gathered here, workers/parallel/planner.py decides.

What is kept of a plan is a dict (`Job.prediction`, see `describe`); apps/jobs/plan_words.py says it in words.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from apps.core.errors import Unprocessable
from apps.jobs.models import Job
from apps.jobs.numbers import finite
from apps.jobs.plan_words import refusal_words
from apps.resources.links import links_between, want_links
from apps.resources.models import Device, LayerProfile, Pool
from apps.resources.nodes import open_nodes
from apps.resources.profiles import Sort, profile_of, rows_of, sort_of, step_seconds, want_profile
from apps.resources.wanted import Wanted
from workers.domains import SPREADABLE
from workers.parallel import facts
from workers.parallel.candidates import Candidate, Verdict
from workers.parallel.plan import SINGLE, STRATEGIES, ParallelPlan
from workers.parallel.planner import Proposal, choose_plan, plan_for_grant
from workers.parallel.shapes import Shape, shape_of

AUTO = "auto"
CHOICES = (AUTO, *STRATEGIES)
MOST_SPREAD = 64
KINDS = (Device.Kind.CUDA, Device.Kind.MPS, Device.Kind.CPU)
UNKNOWN_MEMORY = 16 * 10**9
WORTH = 0.95  # fewer devices are named where a step takes at most this part of the time
MEASURING_AT_MOST = timedelta(minutes=3)


@dataclass(frozen=True)
class Planned:
    """`is_measuring` says that the figures will soon be better; `second_factor` is how long a step on two devices takes
    against one, where one was asked for and there is a second."""

    proposal: Proposal
    profile: facts.ModelProfile
    batch_size: int
    asked: str
    has_machines: bool
    is_measuring: bool = False
    second_factor: float | None = None
    notes: tuple[Verdict, ...] = ()
    speeds: Mapping[str, float] = field(default_factory=dict)

    def as_wanted(self, wanted: Wanted) -> Wanted:
        """A plan for one device asks for one; another may take its devices from several machines."""
        if self.proposal.plan is None:
            return wanted
        world_size = self.proposal.plan.world_size
        spans = None if world_size > 1 else 1
        return replace(wanted, demand=replace(wanted.demand, devices=world_size, max_nodes=spans))

    @property
    def refusal(self) -> Unprocessable | None:
        verdict = self.proposal.refusal
        if verdict is None:
            return None
        numbers = dict(verdict.numbers)
        field = "devices" if verdict.code == "needs_more_devices" or self.asked == AUTO else "strategy"
        return Unprocessable(refusal_words(self.asked, verdict), code=verdict.code, field=field, details=numbers)


def is_spreadable(job: Job) -> bool:
    """One that starts from a checkpoint is trained by one process."""
    return job.kind == Job.Kind.TRAIN and job.task in SPREADABLE and not job.hyperparameters.get("start_from")


def check_strategy(job: Job, strategy: str) -> None:
    """Raises Unprocessable for a strategy that does not exist, or that the job's program does not know."""
    if strategy not in CHOICES:
        raise Unprocessable(
            _('There is no strategy "%(strategy)s". Choose one of: %(known)s.')
            % {"strategy": strategy[:40], "known": ", ".join(CHOICES)},
            code="unknown_strategy",
            field="strategy",
        )
    if strategy not in (AUTO, SINGLE) and not is_spreadable(job):
        raise Unprocessable(
            _("Only trainings on images can be spread over devices. Leave the strategy on auto."),
            code="not_spreadable",
            field="strategy",
        )


def plan_training(job: Job, wanted: Wanted, strategy: str = AUTO, *, may_measure: bool = False) -> Planned | None:
    """The plan of a training that need not be saved yet; None where there is nothing to plan.

    With `may_measure` the machines are asked to measure what is not known.
    """
    count = wanted.demand.devices
    if not is_spreadable(job) or not 1 <= count <= MOST_SPREAD:
        return None
    shape = shape_of(job.hyperparameters, job.dataset_version.report)
    found = pick_devices(wanted.pool, wanted.demand.device_kind, max(count, 2))
    picked = found[:count]
    known = rows_of(shape, [sort_of(device) for device in found])
    is_measuring = may_measure and _measure(shape, picked, known)
    make = _Maker(job, shape, found, known, wanted.demand.device_kind)
    profile, devices = make.take(count)
    forced = None if strategy == AUTO else strategy
    proposal = make.plan(profile, devices, forced)
    fewer = make.fewer_are_faster(proposal, count) if strategy == AUTO else None
    return Planned(
        proposal=proposal,
        profile=profile,
        batch_size=make.settings.batch_size,
        asked=strategy,
        has_machines=bool(picked),
        is_measuring=is_measuring,
        second_factor=make.second_factor() if count == 1 and len(found) > 1 else None,
        notes=(*proposal.notes, *([fewer] if fewer else [])),
        speeds=make.speeds,
    )


def pick_devices(pool: Pool, kind: str, count: int) -> list[Device]:
    """All devices of one kind on open machines, machine by machine, free ones and large machines first; of the first
    kind that has `count` of them, unless `kind` says which."""
    rows = Device.objects.filter(node__in=open_nodes().filter(pool=pool)).select_related("node")
    rows = list(rows.prefetch_related("node__devices"))
    kinds = [kind] if kind else sorted({row.kind for row in rows}, key=KINDS.index)
    by_kind = [[row for row in rows if row.kind == each] for each in kinds]
    enough = next((group for group in by_kind if len(group) >= count), max(by_kind, key=len, default=[]))
    held = Counter(row.node_id for row in enough)
    free = Counter(row.node_id for row in enough if row.allocation_id is None)
    return sorted(enough, key=lambda row: (-free[row.node_id], -held[row.node_id], row.node.name, row.index))


def _measure(shape: Shape, devices: Sequence[Device], known: Mapping[Sort, LayerProfile]) -> bool:
    """Ask for what is not known; whether an answer is to be expected soon."""
    rows = {sort: known.get(sort) for sort in map(sort_of, devices)}
    for device in devices:
        sort = sort_of(device)
        if rows[sort] is None or not rows[sort].measured_at:
            rows[sort] = want_profile(shape=shape, device=device)
    nodes = {device.node for device in devices}
    is_linking = len(nodes) > 1 and want_links(nodes)
    soon = timezone.now() - MEASURING_AT_MOST
    waiting = (row for row in rows.values() if row and not row.measured_at and not row.error)
    return is_linking or any(row.wanted_at > soon for row in waiting)


class _Maker:
    """Turns devices of the pool into what the planner takes. `speeds` has every sort of device that was found, against
    the first one."""

    def __init__(
        self, job: Job, shape: Shape, found: Sequence[Device], known: Mapping[Sort, LayerProfile], kind: str
    ) -> None:
        self.found, self.known, self.shape = found, known, shape
        self.kind = kind or Device.Kind.CPU
        self.augmentation = job.hyperparameters["augmentation"]
        report = job.dataset_version.report
        self.data = facts.Data(
            examples=report.get("splits", {}).get("train", 0) or job.dataset_version.item_count or 1,
            example_bytes=shape.channels * shape.side**2,
            classes=shape.classes,
        )
        self.settings = facts.Settings.of(job.hyperparameters, self.data.examples)
        self.links = links_between({device.node for device in found})
        sorts = [sort_of(device) for device in found]
        self.speeds = {_key(sort): self._speed(sorts[0], sort) for sort in sorts}

    def take(self, count: int) -> tuple[facts.ModelProfile, list[facts.Device]]:
        """The profile of the first device, and so many devices with their speeds against it; devices that no machine of
        the pool has yet are taken to be like usual ones."""
        devices = self.found[:count]
        if not devices:
            sort = Sort(self.kind, "", 1)
            missing = [
                facts.Device(_("device %(n)d") % {"n": n + 1}, 0, self.kind, UNKNOWN_MEMORY) for n in range(count)
            ]
            return profile_of(self.shape, sort, {}, self.augmentation), missing
        sorts = [sort_of(device) for device in devices]
        first = self._profile(sorts[0], is_measured=self._is_measured(sorts))
        described = [
            facts.Device(device.node.name, device.index, device.kind, free_bytes(device), self.speeds[_key(sort)])
            for device, sort in zip(devices, sorts, strict=True)
        ]
        while len(described) < count:  # asked for more than there are: it waits until they join
            described.append(replace(described[-1], index=described[-1].index + 1))
        return first, described

    def _is_measured(self, sorts: Iterable[Sort]) -> bool:
        return all(sort in self.known and self.known[sort].measured_at for sort in sorts)

    def _speed(self, first: Sort, other: Sort) -> float:
        """Of a sort of device against the first one; what was measured is not compared with what was estimated."""
        is_measured = self._is_measured([first, other])
        one, two = (step_seconds(self._profile(sort, is_measured)) for sort in (first, other))
        return one / two

    def _profile(self, sort: Sort, is_measured: bool) -> facts.ModelProfile:
        return profile_of(self.shape, sort, self.known, self.augmentation, may_be_measured=is_measured)

    def plan(self, profile: facts.ModelProfile, devices: Sequence[facts.Device], forced: str | None = None) -> Proposal:
        return choose_plan(profile, devices, self.links, self.data, self.settings, forced)

    def fewer_are_faster(self, proposal: Proposal, count: int) -> Verdict | None:
        """Half as many devices, or half of those, where their plan is clearly the faster one."""
        best = None
        fewer = count // 2
        while proposal.chosen and proposal.plan.world_size == count and fewer > 1:
            chosen = self.plan(*self.take(fewer)).chosen
            if chosen and chosen.step_seconds < WORTH * (best or proposal.chosen).step_seconds:
                best = chosen
            fewer //= 2
        if best is None or best.plan.world_size == 1:
            return None
        return Verdict("fewer_are_faster", {"devices": best.plan.world_size, "seconds": best.step_seconds})

    def second_factor(self) -> float | None:
        """How long a step of the best exact plan on two devices takes against one."""
        profile, devices = self.take(2)
        proposal = self.plan(profile, devices)
        if proposal.best_split is None or math.isinf(proposal.single_seconds):
            return None
        return proposal.best_split.step_seconds / proposal.single_seconds


def free_bytes(device: Device) -> int:
    """What a training would find free: all of it when who holds it now has gone. CPUs share the machine's memory."""
    used = 0 if device.allocation_id else device.memory_used_bytes
    if device.kind == Device.Kind.CPU:
        return max(0, device.node.memory_bytes - used) // max(1, len(device.node.devices.all()))
    return max(0, device.memory_bytes - used)


# What is kept


def describe(planned: Planned) -> dict[str, Any]:
    """The plan as JSON: what was chosen and for what, the figures, and every other strategy with its verdict."""
    proposal, chosen = planned.proposal, planned.proposal.chosen
    return {
        "asked": planned.asked,
        "strategy": chosen.strategy if chosen else None,
        "plan": chosen.plan.as_dict() if chosen else {},
        "world_size": chosen.plan.world_size if chosen else 0,
        "batch_size": planned.batch_size,
        "step_seconds": finite(chosen.step_seconds) if chosen else None,
        "single_seconds": finite(proposal.single_seconds),
        "speedup": proposal.speedup(chosen) if chosen else None,
        "communication_seconds": chosen.communication_seconds if chosen else 0.0,
        "bubble": chosen.bubble if chosen else 0.0,
        "is_measured": proposal.is_measured,
        "device_name": planned.profile.device_name,
        "has_machines": planned.has_machines,
        "second_factor": planned.second_factor,
        "parts": [
            {
                "node": part.node, "index": part.index, "kind": part.kind, "layers": list(part.layers),
                "examples": part.examples, "memory_bytes": part.memory_bytes,
                "available_bytes": part.available_bytes, "compute_seconds": part.compute_seconds,
            }
            for part in (chosen.parts if chosen else ())
        ],
        "notes": [_verdict(note) for note in planned.notes],
        "alternatives": [_alternative(proposal, item) for item in proposal.candidates],
        "profile": planned.profile.as_dict(),
        "speeds": dict(planned.speeds),
    }  # fmt: skip


def _alternative(proposal: Proposal, item: Candidate) -> dict[str, Any]:
    return {
        "strategy": item.strategy,
        "step_seconds": finite(item.step_seconds),
        "speedup": proposal.speedup(item),
        "memory_bytes": item.memory_bytes or None,
        "verdict": _verdict(item.verdict or Verdict("possible")),
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {"code": verdict.code, "numbers": dict(verdict.numbers)}


def plan_of_grant(job: Job, devices: Sequence[Device]) -> ParallelPlan:
    """The job's plan for the devices that it was granted, in the order of the ranks. Every machine of the gang asks and
    must be told the same, so only what was written down with the plan counts, and nothing that was measured since."""
    plan = ParallelPlan.from_dict(job.plan)
    if not job.prediction or not devices:
        return plan
    speeds = job.prediction["speeds"]
    granted = [
        facts.Device(device.node.name, device.index, device.kind, 0, speeds.get(_key(sort_of(device)), 1.0))
        for device in devices
    ]
    return plan_for_grant(plan, granted, facts.ModelProfile.from_dict(job.prediction["profile"]))


def _key(sort: Sort) -> str:
    return f"{sort.kind} {sort.name} {sort.threads}"


def measured_step(job: Job) -> float | None:
    """Seconds for a step as the program has it, while it runs and after; None before the first step."""
    seen = job.progress.get("samples_per_second") or job.result.get("samples_per_second")
    return job.prediction["batch_size"] / seen if job.prediction and seen else None
