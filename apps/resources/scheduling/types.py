"""What a plan is made from and what it says. All values are frozen; ids are the callers' own."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class NodeState:
    """A machine that beats and is not cordoned. `free_devices` are ids; `light_slots` is how many more
    claims without a device it can take."""

    id: int
    name: str
    free_devices: tuple[int, ...]
    device_count: int
    light_slots: int


@dataclass(frozen=True)
class Request:
    """A pending claim; requests arrive in the order in which they were made."""

    id: int
    team_id: int
    devices: int


@dataclass(frozen=True)
class Snapshot:
    """`held` and `device_limits` are per team id; a team without a limit is not in `device_limits`."""

    nodes: tuple[NodeState, ...]
    requests: tuple[Request, ...]
    held: dict[int, int] = field(default_factory=dict)
    device_limits: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Grant:
    request_id: int
    node_id: int
    device_ids: tuple[int, ...]


@dataclass(frozen=True)
class Reason:
    """Why a request waits: a stable code, and the numbers that a sentence about it needs."""

    code: str
    numbers: dict[str, int]


@dataclass(frozen=True)
class Waiting:
    """`place` counts from 1."""

    request_id: int
    place: int
    reason: Reason


@dataclass(frozen=True)
class Plan:
    grants: tuple[Grant, ...]
    waiting: tuple[Waiting, ...]
