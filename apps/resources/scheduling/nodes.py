"""A machine and a demand as a plan sees them, and whether the one could ever hold the other."""

from array import array
from collections.abc import Iterable, Sequence, Set

from apps.resources.scheduling.ledger import amounts_of
from apps.resources.scheduling.types import Demand, NodeState, Placement

Part = tuple["Node", int, int, int]  # node, devices, thousandths of a core, bytes: a piece of a placement
Held = Sequence[tuple["Node", int]]  # on which nodes work holds how many devices


class Node:
    """A machine, with what is free on it at the moment. `claims` are the placements on it by request.

    `loose_devices` is how many devices are held by work that may be preempted; `loose_teams` is whose that is which
    was not asked to leave yet, or None since this changed; `ends` is when each device that is held comes free,
    ascending, as the timeline has it.
    """

    __slots__ = (
        "id",
        "name",
        "kind",
        "size",
        "free",
        "cpu",
        "memory",
        "total_cpu",
        "total_memory",
        "is_open",
        "claims",
        "kept",
        "loose_devices",
        "loose_teams",
        "ends",
        "shelf",
    )

    def __init__(self, state: NodeState) -> None:
        self.id = state.id
        self.claims: dict[int, Placement] = {}
        self.kept: tuple[Kept, ...] = ()
        self.loose_devices = 0
        self.loose_teams: Set[int] | None = None
        self.ends = array("d")
        self.shelf: list[int] | None = None
        self.become(state)

    def become(self, state: NodeState) -> None:
        """Take over what the caller says of this node; claims stay."""
        self.name = state.name
        self.kind = state.device_kind
        self.size = state.device_count
        self.free = tuple(sorted(state.free_devices))
        self.cpu = state.free_cpu_millicores
        self.memory = state.free_memory_bytes
        self.total_cpu = state.cpu_millicores
        self.total_memory = state.memory_bytes
        self.is_open = state.is_open

    def state(self) -> NodeState:
        return NodeState(
            id=self.id,
            name=self.name,
            device_kind=self.kind,
            device_count=self.size,
            free_devices=self.free,
            cpu_millicores=self.total_cpu,
            free_cpu_millicores=self.cpu,
            memory_bytes=self.total_memory,
            free_memory_bytes=self.memory,
            is_open=self.is_open,
        )

    def available(self, is_short: bool = False) -> tuple[int, int, int]:
        """Devices, CPU and memory that are free and kept for nobody.

        `is_short`: the asker ends before the reservation begins, and may use what is kept for it until then.
        """
        devices, cpu, memory = len(self.free), self.cpu, self.memory
        if not self.kept:
            return devices, cpu, memory
        for kept in self.kept:
            if not (kept.is_timed and is_short):
                devices -= kept.devices
                cpu -= kept.cpu
                memory -= kept.memory
        return devices, cpu, memory

    def usable_devices(self, shape: "Shape", is_short: bool = False) -> int:
        """How many of a gang's devices this node could take, with the CPU and memory that go with them."""
        devices, cpu, memory = self.available(is_short)
        if shape.cpu_each:
            devices = min(devices, cpu // shape.cpu_each)
        if shape.memory_each:
            devices = min(devices, memory // shape.memory_each)
        return max(devices, 0)


class Kept:
    """Free room of one node that is kept for a request. A timed one begins later: short work may use it till then."""

    __slots__ = ("devices", "cpu", "memory", "is_timed")

    def __init__(self, devices: int, cpu: int, memory: int, is_timed: bool) -> None:
        self.devices = devices
        self.cpu = cpu
        self.memory = memory
        self.is_timed = is_timed


class Shape:
    """A demand, with what is worked out of it once. Requests with equal demands share one."""

    __slots__ = (
        "demand",
        "asked",
        "jobs",
        "devices",
        "cpu",
        "memory",
        "kind",
        "cpu_each",
        "memory_each",
        "number",
        "needed",
        "version",
    )

    def __init__(self, demand: Demand, number: int = 0) -> None:
        self.demand = demand
        self.asked = amounts_of(demand)
        self.jobs = demand.jobs
        self.devices, self.cpu, self.memory = self.asked
        self.kind = demand.device_kind
        self.cpu_each = -(-self.cpu // self.devices) if self.devices else 0
        self.memory_each = -(-self.memory // self.devices) if self.devices else 0
        self.number = number
        self.needed: tuple[int, tuple[str, ...]] = (0, ())
        self.version = -1

    def kinds_of(self, kinds: Iterable[str]) -> list[str]:
        """Those of `kinds` that would do."""
        return [kind for kind in kinds if self.kind in ("", kind)]

    def split(self, shares: Iterable[tuple[Node, int]]) -> list[Part]:
        """Share CPU and memory out over the nodes in proportion to the devices; the parts add up exactly."""
        parts, seen = [], 0
        for node, devices in shares:
            before, seen = seen, seen + devices
            cpu = self.cpu * seen // self.devices - self.cpu * before // self.devices
            memory = self.memory * seen // self.devices - self.memory * before // self.devices
            parts.append((node, devices, cpu, memory))
        return parts


def empty_devices(shape: Shape, node: Node) -> int:
    """How many of a gang's devices the node could take if it were empty."""
    usable = node.size
    if shape.cpu_each:
        usable = min(usable, node.total_cpu // shape.cpu_each)
    if shape.memory_each:
        usable = min(usable, node.total_memory // shape.memory_each)
    return usable


def fewest_nodes(shape: Shape, nodes: Iterable[Node]) -> tuple[int, tuple[str, ...]]:
    """How many of `nodes`, all of one kind and empty, the shape needs at least, and of which kinds; (0, ()) if none."""
    sizes: dict[str, list[int]] = {}
    for node in nodes:
        if shape.kind not in ("", node.kind):
            continue
        if not shape.devices:
            if node.total_cpu >= shape.cpu and node.total_memory >= shape.memory:
                sizes.setdefault(node.kind, []).append(1)
            continue
        usable = empty_devices(shape, node)
        whole_fits = node.size >= shape.devices and node.total_cpu >= shape.cpu and node.total_memory >= shape.memory
        sizes.setdefault(node.kind, []).append(shape.devices if whole_fits else usable)
    counts = {}
    for kind, usable in sizes.items():
        count = _how_many(usable, max(shape.devices, 1), shape.demand.max_nodes)
        if count:
            counts[kind] = count
    fewest = min(counts.values(), default=0)
    return fewest, tuple(sorted(kind for kind, count in counts.items() if count == fewest))


def _how_many(usable: list[int], devices: int, most: int | None) -> int:
    """How many of the largest it takes to hold `devices`; 0 if they do not, or it takes more than `most`."""
    for count, size in enumerate(sorted(usable, reverse=True), start=1):
        devices -= size
        if devices <= 0:
            return 0 if most is not None and count > most else count
    return 0
