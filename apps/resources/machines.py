"""A machine as a viewer may see it: its state, its devices and who holds them, and what is wrong with it.

A person sees the own team's work by name, and of other teams only that they hold something; an administrator sees all.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from django.conf import settings
from django.db.models import Prefetch, QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from apps.accounts.models import Team
from apps.core.retelling import retell
from apps.core.version import code_version
from apps.resources.health import Advice, advise, from_dicts, site_problems
from apps.resources.models import Allocation, Device, Node, Placement
from apps.resources.nodes import OFFLINE_AFTER, is_online, open_nodes, state_of, with_state

STATE_WORDS = {
    "online": gettext_lazy("Online"),
    "offline": gettext_lazy("Offline"),
    "cordoned": gettext_lazy("Cordoned"),
    "draining": gettext_lazy("Draining"),
    "drained": gettext_lazy("Drained"),
    "removed": gettext_lazy("Removed"),
}
FREE, MINE, HELD, CORDONED, OFFLINE = "free", "mine", "held", "cordoned", "offline"


@dataclass(frozen=True)
class Holder:
    """Who holds hardware, as far as the viewer may know. `job_id` is 0 unless it is a job of the viewer's team, and
    `deployment_id` unless it serves a deployment of that."""

    text: str
    job_id: int = 0
    deployment_id: int = 0
    is_mine: bool = False


@dataclass(frozen=True)
class Slot:
    """A device. `state` is free, mine, held, cordoned or offline: how the map colours it."""

    device: Device
    state: str
    holder: Holder | None
    temperature: float | None

    @property
    def words(self) -> str:
        """The whole truth in one line, for a pointer that rests on it and for a screen reader."""
        name = f"{self.device.get_kind_display()} {self.device.index}"
        said = {FREE: _("free"), CORDONED: _("free, but takes no new work"), OFFLINE: _("offline")}
        if self.holder is None:
            return f"{name}: {said[self.state]}"
        held = _("held by %(who)s") % {"who": self.holder.text}
        return f"{name}: {said[OFFLINE]}, {held}" if self.state == OFFLINE else f"{name}: {held}"


@dataclass(frozen=True)
class Machine:
    """`light` are holders of CPU and memory alone; `problems` are worst first; `notes` say what a drain waits for."""

    node: Node
    state: str
    slots: list[Slot]
    light: list[Holder]
    problems: list[Advice]
    notes: list[str] = field(default_factory=list)

    @property
    def label(self) -> str:
        return str(STATE_WORDS[self.state])

    @property
    def silent_seconds(self) -> float | None:
        return self.node.silent_for.total_seconds() if self.node.silent_for is not None else None

    @property
    def devices_used(self) -> int:
        return sum(slot.holder is not None for slot in self.slots)

    @property
    def has_left(self) -> int:
        """How many jobs and replicas are still on it."""
        return self.node.claims_left + self.node.replicas_left

    @property
    def cpu_held(self) -> float:
        return self.node.cpu_held_millicores / 1000

    @property
    def storage_used_bytes(self) -> int:
        return max(0, self.node.storage_bytes - self.node.storage_free_bytes)

    @property
    def is_serious(self) -> bool:
        return any(problem.is_serious for problem in self.problems)


def look_at(nodes: QuerySet[Node], *, team: Team | None, sees_all: bool) -> list[Machine]:
    """The machines in the order of their names; a fixed number of queries however many there are."""
    claims = ("allocation__team", "allocation__job", "allocation__replica__deployment")
    rows = with_state(nodes).select_related("pool").order_by("name")
    rows = rows.prefetch_related(
        Prefetch("devices", Device.objects.select_related(*claims)),
        Prefetch("placements", Placement.objects.select_related(*claims).order_by("id")),
    )
    has_open = open_nodes().exists()
    return [_machine(node, team, sees_all, has_open) for node in rows]


def _machine(node: Node, team: Team | None, sees_all: bool, has_open: bool) -> Machine:
    state = state_of(node)
    light = [
        holder_of(part.allocation, team, sees_all)
        for part in node.placements.all()
        if part.allocation.status == Allocation.Status.GRANTED and not part.allocation.devices_asked
    ]
    return Machine(
        node=node,
        state=state,
        slots=list(_slots(node, state, team, sees_all)),
        light=light,
        problems=_problems(node, state),
        notes=list(_notes(node, state, has_open)),
    )


def _slots(node: Node, state: str, team: Team | None, sees_all: bool) -> Iterator[Slot]:
    temperatures = node.health.get("temperatures", {})
    for device in node.devices.all():
        holder = holder_of(device.allocation, team, sees_all) if device.allocation else None
        temperature = temperatures.get(f"{device.kind}-{device.index}")
        yield Slot(device, _colour(state, holder), holder, temperature)


def _colour(state: str, holder: Holder | None) -> str:
    if state in ("offline", "removed"):
        return OFFLINE
    if holder is not None:
        return MINE if holder.is_mine else HELD
    return FREE if state == "online" else CORDONED


def holder_of(claim: Allocation, team: Team | None, sees_all: bool) -> Holder:
    name = retell(claim.work_name)
    if team is not None and claim.team_id == team.pk:
        job, replica = getattr(claim, "job", None), getattr(claim, "replica", None)
        ids = (job.pk if job else 0, replica.deployment_id if replica else 0)
        return Holder(name or _("your team"), *ids, is_mine=True)
    if sees_all:
        return Holder(f"{claim.team.name} · {name}" if name else claim.team.name)
    return Holder(_("another team"))


def _problems(node: Node, state: str) -> list[Advice]:
    """What its agent saw counts only while the agent is there."""
    seen = from_dicts(node.health.get("problems", [])) if state != "offline" else []
    found = site_problems(
        silent_seconds=node.silent_for.total_seconds() if node.silent_for is not None else None,
        is_online=is_online(node),
        offline_after=OFFLINE_AFTER.total_seconds(),
        version=node.health.get("version", "") if state != "offline" else "",
        site_version=code_version(),
    )
    return [advise(problem) for problem in sorted([*found, *seen], key=lambda problem: not problem.is_serious)]


def _notes(node: Node, state: str, has_open: bool) -> Iterator[str]:
    if state == "offline":
        yield from _notes_offline(node)
    if state != "draining":
        return
    if node.claims_left:
        yield _("Jobs that still have to leave: %(n)d. Each writes a checkpoint and goes on elsewhere.") % {
            "n": node.claims_left
        }
    if node.replicas_left and has_open:
        yield _("Replicas that still have to leave: %(n)d. Each stops once another one answers elsewhere.") % {
            "n": node.replicas_left
        }
    elif node.replicas_left:
        yield _("Replicas that stay: %(n)d. No other machine takes work; open or add one, and they move.") % {
            "n": node.replicas_left
        }


def _notes_offline(node: Node) -> Iterator[str]:
    if node.last_beat_at is None:
        yield _("Its agent was stopped in order. It comes back when the agent is started again.")
    if node.claims_left:
        yield _("Jobs that it held: %(n)d. They go on elsewhere after %(s)d seconds of silence.") % {
            "n": node.claims_left,
            "s": settings.LEPTON_LEASE_SECONDS,
        }
    if node.drain_requested_at or node.is_cordoned:
        yield _("It takes no new work when it comes back, until it is opened again.")
