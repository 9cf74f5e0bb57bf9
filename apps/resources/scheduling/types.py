"""What a plan is made from and what it says. All values are frozen, ids are the caller's own, times are seconds.

One vocabulary for the live pool, the replay of traces, the policy simulator and the forecast of starts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple


class Priority(IntEnum):
    """The class that a person gives to work. Within a class policies decide."""

    LOW = 0
    NORMAL = 1
    HIGH = 2


@dataclass(frozen=True, slots=True)
class Resources:
    """An amount of what a pool shares: whole devices, thousandths of a CPU core, bytes of memory."""

    devices: int = 0
    cpu_millicores: int = 0
    memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """At most so much of each; None is no limit. `jobs` counts granted claims at once."""

    devices: int | None = None
    cpu_millicores: int | None = None
    memory_bytes: int | None = None
    jobs: int | None = None


@dataclass(frozen=True, slots=True)
class Demand:
    """What work asks for, in total over its nodes.

    With devices, CPU and memory go with the devices in proportion. `device_kind` "" takes any kind. A gang with
    `max_nodes` 1 fits on one node or not at all; None lets it span nodes: as few as possible, and never more than
    needed, so work that fits on one node is placed on one.

    `is_service`: it serves, and ends when nobody wants it any more. Such work comes before all else that waits, counts
    as no job, and is not to be preempted.
    """

    devices: int = 0
    cpu_millicores: int = 0
    memory_bytes: int = 0
    device_kind: str = ""
    max_nodes: int | None = 1
    is_service: bool = False

    @property
    def jobs(self) -> int:
        """As how many it counts of the jobs at once."""
        return 0 if self.is_service else 1


@dataclass(frozen=True, slots=True)
class Estimate:
    """How long work will run in all, from its first start: the median, and the range it falls in 8 times of 10.

    `durations` are equally likely outcomes, ascending, where more is known than the three.
    """

    low_seconds: float
    median_seconds: float
    high_seconds: float
    durations: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeState:
    """A machine. One that is not `is_open` (offline, cordoned, draining) takes no new work.

    All devices of a node are of one kind. `free_devices` are ids.
    """

    id: int
    name: str
    device_kind: str
    device_count: int
    free_devices: tuple[int, ...]
    cpu_millicores: int
    free_cpu_millicores: int
    memory_bytes: int
    free_memory_bytes: int
    is_open: bool = True


@dataclass(frozen=True, slots=True)
class Request:
    """A pending claim.

    `attained_seconds` is how long earlier executions of the same work have run: what a checkpoint has saved. `bid` is
    the credits offered for one device-hour, 0 without a bid. `submitted_at` never changes over preemptions;
    `waiting_since` is when the present wait began. `is_promised`: during it others were asked to leave for this
    request; when they are gone nobody else takes their room.
    """

    id: int
    team_id: int
    demand: Demand
    submitted_at: float
    user_id: int = 0
    waiting_since: float | None = None
    priority: Priority = Priority.NORMAL
    is_preemptible: bool = True
    estimate: Estimate | None = None
    attained_seconds: float = 0.0
    bid: float = 0.0
    is_promised: bool = False


# Makes a named tuple of a tuple: its own `__new__` is Python code, and takes more than twice the time.
made = tuple.__new__


class Placement(NamedTuple):
    """The part of a grant that lies on one node."""

    node_id: int
    device_ids: tuple[int, ...]
    cpu_millicores: int = 0
    memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Running:
    """A granted claim. `leaving_for` is the request for which it was asked to leave; it holds its devices until it
    is gone, and they are meant for that request. 0: it leaves for nobody in particular (drained, cancelled)."""

    request: Request
    placements: tuple[Placement, ...]
    started_at: float
    leaving_for: int | None = None


@dataclass(frozen=True, slots=True)
class Team:
    """What was promised to a team and how far it may go.

    `guaranteed` is never broken; more is borrowed while it is idle, in proportion to `weight`, up to `limit`.
    `user_limit` holds for each person of the team. `recent_device_seconds` is past use, decayed, for fair share.
    `device_seconds_left` and `is_budget_spent` stop new work. `credits` is what the team can bid with.
    """

    id: int
    weight: float = 1.0
    guaranteed: Resources = Resources()
    limit: Limits = Limits()
    user_limit: Limits = Limits()
    recent_device_seconds: float = 0.0
    device_seconds_left: float | None = None
    is_budget_spent: bool = False
    credits: float = 0.0


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """How a pool is shared. `policy` is fifo, priority, fair_share, auction or shortest_predicted.

    `min_runtime_seconds` is what work that was started is promised before it may be preempted;
    `checkpoint_cost_seconds` is what one preemption costs its victim; `starvation_seconds` is the wait after which work
    goes to the front whatever the policy says.
    """

    policy: str = "fifo"
    is_preemptive: bool = True
    min_runtime_seconds: float = 1800.0
    checkpoint_cost_seconds: float = 60.0
    starvation_seconds: float = 5 * 86400.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that a plan is made from. A team that is not in `teams` has weight 1, no guarantee and no limit."""

    now: float
    nodes: Sequence[NodeState]
    requests: Sequence[Request]
    running: Sequence[Running] = ()
    teams: Mapping[int, Team] = field(default_factory=dict)
    settings: PolicySettings = PolicySettings()


class Grant(NamedTuple):
    """`price` is credits for one device-hour, where the policy is an auction."""

    request_id: int
    placements: tuple[Placement, ...]
    price: float = 0.0


@dataclass(frozen=True, slots=True)
class Eviction:
    """Ask running work to write a checkpoint and leave, for the sake of `for_request_id`.

    `code`: reclaimed (the beneficiary is inside its guarantee), outranked (the policy prefers it), starving, serving
    (the beneficiary is a service).
    """

    request_id: int
    for_request_id: int
    code: str


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a request waits: a stable code, and the numbers that a sentence about it needs.

    The codes, in the order in which they dominate:
    no_node_online, kind_missing, too_large_for_any_node, too_large_for_pool: it does not fit however long it waits;
    team_limit, user_limit (numbers: resource, asks, limit, in_use), hours_spent, budget_spent: a promise to others;
    being_freed (numbers: devices): others were asked to leave for it;
    promised: it may not be preempted, and what is free was guaranteed to others;
    outbid (numbers: price, bid), behind (numbers: ahead): room is kept for work that comes before it;
    devices_busy (numbers: asks, free), cpu_busy, memory_busy: somebody holds it; fragmented (numbers: asks, free,
    largest_gap): enough is free, but not together.
    `holders` are the ids of running work that hold what it waits for, the one that ends soonest first.
    """

    code: str
    numbers: Mapping[str, int | float | str] = field(default_factory=dict)
    holders: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Waiting:
    """`place` counts from 1 in the policy's order. `starts_at` is when its reservation begins, where it has one."""

    request_id: int
    place: int
    reason: Reason
    starts_at: float | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """`clearing_price` is credits for one device-hour, where the policy is an auction."""

    grants: Sequence[Grant]
    waiting: Sequence[Waiting]
    evictions: Sequence[Eviction] = ()
    clearing_price: float | None = None
