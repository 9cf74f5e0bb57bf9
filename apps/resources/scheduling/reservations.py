"""When room will be free: the expected ends of running work, and the earliest start of a request that has to wait.

EASY backfill (Lifka, The ANL/IBM SP scheduling system, 1995): the first request that must wait is promised the earliest
start that the estimates allow, and others may start only if they do not delay it. Here the promise names nodes, so that
work on any other node cannot delay it.
"""

import math
from array import array
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from apps.resources.scheduling.ledger import Amounts, TeamUse, Use
from apps.resources.scheduling.nodes import Held, Kept, Node, Part, Shape
from apps.resources.scheduling.pool import Pool
from apps.resources.scheduling.queue import expected_seconds
from apps.resources.scheduling.types import Placement, Request

# How many of the nodes that are free soonest are looked at exactly, CPU and memory included.
_CANDIDATES = 16
# What begins later waits for work that is not meant to end; keeping room for it would only keep others away.
_IN_SIGHT_SECONDS = 365 * 86400.0
_ALWAYS, _NEVER = array("d", (-math.inf,)), array("d", (math.inf,))


class Claim:
    """Running work. `ends_at` is when it will be gone at the high end of its estimate; `counted_at` is when, as the
    timeline has it, its room comes free for others. `use` and `person` are what its team and its person hold; they and
    `id` and `asked` stand here, too, so that they are found without reaching for the request."""

    __slots__ = (
        "request",
        "id",
        "placements",
        "started_at",
        "leaving_for",
        "ends_at",
        "counted_at",
        "use",
        "person",
        "asked",
        "jobs",
        "is_preemptible",
    )

    def __init__(
        self,
        request: Request,
        request_id: int,
        placements: tuple[Placement, ...],
        started_at: float,
        seconds: float,
        use: TeamUse,
        person: Use,
        asked: Amounts,
        jobs: int,
        is_preemptible: bool,
    ) -> None:
        """`seconds` are the `expected_seconds` of the request."""
        self.request = request
        self.id = request_id
        self.use = use
        self.person = person
        self.asked = asked
        self.jobs = jobs
        self.is_preemptible = is_preemptible
        self.placements = placements
        self.started_at = started_at
        self.ends_at = started_at + seconds
        self.leaving_for: int | None = None
        self.counted_at = math.inf

    def revise(self, request: Request) -> None:
        self.request = request
        self.ends_at = self.started_at + expected_seconds(request)

    def attained_seconds(self, now: float) -> float:
        """What all executions so far have run."""
        return self.request.attained_seconds + max(0.0, now - self.started_at)


@dataclass(frozen=True, slots=True)
class Reservation:
    """Room that will be free for a request at `starts_at`."""

    parts: tuple[Part, ...]
    starts_at: float


class Timeline:
    """For each node, when how many of its devices will be free. Rows are renewed only for nodes that changed.

    `is_awaited` says whether a request, for which work was asked to leave, still waits; work that is leaving has to be
    counted anew when that changes.
    """

    def __init__(self, pool: Pool, claims: dict[int, Claim], is_awaited: Callable[[int], bool]) -> None:
        self._pool = pool
        self._claims = claims
        self._is_awaited = is_awaited
        self._version = -1
        self._stale: set[Node] = set()

    def count(self, claim: Claim, held: Held | Sequence[Part]) -> None:
        """Work has been placed on nodes."""
        at = claim.counted_at = claim.ends_at if claim.leaving_for is None else self.ends_at(claim)
        for part in held:
            node, devices = part[0], part[1]
            ends = node.ends
            place = bisect_left(ends, at)
            if devices == 1:
                ends.insert(place, at)
            else:
                ends[place:place] = array("d", (at,)) * devices
            self._stale.add(node)

    def discount(self, claim: Claim, held: Held) -> None:
        """Work holds no longer what it held."""
        for node, devices in held:
            place = bisect_left(node.ends, claim.counted_at)
            del node.ends[place : place + devices]
            self._stale.add(node)

    def recount(self, claim: Claim) -> None:
        """The end of running work may have changed."""
        if claim.counted_at != self.ends_at(claim):
            held = self._pool.held_by(claim.id, claim.placements)
            self.discount(claim, held)
            self.count(claim, held)

    def _renew(self) -> None:
        pool = self._pool
        if self._version != pool.version:
            self._version = pool.version
            self._nodes = pool.open_nodes
            self._rows = {node.id: row for row, node in enumerate(self._nodes)}
            largest = max((node.size for node in self._nodes), default=0)
            self._free_at = np.full((len(self._nodes), largest + 1), math.inf)
            self._of_kind = {
                kind: np.array([row for row, node in enumerate(self._nodes) if node.kind == kind], dtype=np.intp)
                for kind in {node.kind for node in self._nodes}
            }
            self._stale = set(self._nodes)
        stale = [(row, node) for node in self._stale if (row := self._rows.get(node.id)) is not None]
        if stale:
            rows, nodes = zip(*stale, strict=True)
            self._free_at[rows, :] = _free_times(nodes, self._free_at.shape[1])
        self._stale.clear()

    def _ends(self, node: Node) -> list[tuple[float, Placement]]:
        """What runs on the node, the soonest gone first."""
        ends = [(self.ends_at(self._claims[claim_id]), claim_id) for claim_id in node.claims]
        ends.sort()
        return [(ends_at, node.claims[claim_id]) for ends_at, claim_id in ends]

    def ends_at(self, claim: Claim) -> float:
        """When the room that work holds comes free for others: any moment if it leaves for nobody, and not in sight if
        it leaves for a request that waits."""
        if claim.leaving_for is None:
            return claim.ends_at
        return math.inf if self._is_awaited(claim.leaving_for) else -math.inf

    def reserve(self, shape: Shape, now: float, is_firm: bool) -> Reservation | None:
        """The earliest start that the estimates allow; None if no set of open nodes will do, or none in sight.

        Of all nodes that would do, a gang gets those that come free last, so that free ones are left to work of any
        length; if `is_firm`, those that come free first, so that what it has got is not lost where estimates are wrong.
        """
        needed, kinds = self._pool.nodes_needed(shape)
        if not needed:
            return None
        self._renew()
        if not shape.devices:
            found = self._soonest_light(shape, kinds, now)
        else:
            found = min(
                (
                    option
                    for kind in kinds
                    if (option := self._soonest_of_kind(shape, needed, kind, now, is_firm)) is not None
                ),
                key=lambda option: option.starts_at,
                default=None,
            )
        return found if found is not None and found.starts_at < now + _IN_SIGHT_SECONDS else None

    def _soonest_light(self, shape: Shape, kinds: tuple[str, ...], now: float) -> Reservation | None:
        nodes = [node for node in self._nodes if node.kind in kinds]
        nodes.sort(key=lambda node: (-node.cpu, node.id))
        return self._soonest([(node, 0) for node in nodes[:_CANDIDATES]], shape, now)

    def _soonest_of_kind(self, shape: Shape, needed: int, kind: str, now: float, is_firm: bool) -> Reservation | None:
        rows = self._of_kind[kind]
        if needed == 1:
            column = self._free_at[rows, shape.devices]
            return self._soonest([(self._nodes[rows[row]], shape.devices) for row in _smallest(column)], shape, now)
        each, rest = self._pool.gang_parts(shape, needed, kind)
        return self._soonest_gang(shape, needed, rows, each, rest, now, is_firm)

    def _soonest_gang(
        self, shape: Shape, needed: int, rows: np.ndarray, each: int, rest: int, now: float, is_firm: bool
    ) -> Reservation | None:
        parts = self._gang_on(shape, needed, rows, each, rest, lambda times: times)
        starts_at = max(self._ready_all(parts), now)
        if starts_at == math.inf:
            return None
        if is_firm:
            return Reservation(parts, starts_at)
        late = self._gang_on(shape, needed, rows, each, rest, lambda times: _last_first(times, now, starts_at))
        return Reservation(late if self._ready_all(late) <= starts_at else parts, starts_at)

    def _gang_on(
        self,
        shape: Shape,
        needed: int,
        rows: np.ndarray,
        each: int,
        rest: int,
        order: Callable[[np.ndarray], np.ndarray],
    ) -> tuple[Part, ...]:
        """The first nodes by `order` of when they come free; no parts at all if there are too few nodes."""
        chosen = _smallest(order(self._free_at[rows, each]), needed - 1)
        first = rows[chosen].tolist()
        others = np.delete(rows, chosen)
        last = others[_smallest(order(self._free_at[others, rest]), 1)]
        shares = [*((self._nodes[row], each) for row in first), *((self._nodes[row], rest) for row in last)]
        return tuple(shape.split(shares)) if len(shares) == needed else ()

    def _ready_all(self, parts: tuple[Part, ...]) -> float:
        return max((self._ready_at(*part) for part in parts), default=math.inf)

    def _soonest(self, shares: list[tuple[Node, int]], shape: Shape, now: float) -> Reservation | None:
        best, best_key = None, (math.inf, 0)
        for node, devices in shares:
            part = (node, devices, shape.cpu, shape.memory)
            ready_at = max(self._ready_at(*part), now)
            if ready_at < math.inf and (best is None or (ready_at, node.id) < best_key):
                best, best_key = part, (ready_at, node.id)
        return None if best is None else Reservation((best,), best_key[0])

    def _ready_at(self, node: Node, devices: int, cpu: int, memory: int) -> float:
        free, free_cpu, free_memory = node.available()
        if free >= devices and free_cpu >= cpu and free_memory >= memory:
            return -math.inf
        for ends_at, placement in self._ends(node):
            free += len(placement.device_ids)
            free_cpu += placement.cpu_millicores
            free_memory += placement.memory_bytes
            if free >= devices and free_cpu >= cpu and free_memory >= memory:
                return ends_at
        return math.inf

    def keep_for(self, reservation: Reservation, is_timed: bool) -> None:
        """Keep what is free now and will not come free of itself by the time the reservation begins."""
        for node, devices, cpu, memory in reservation.parts:
            for ends_at, placement in self._ends(node):
                if ends_at <= reservation.starts_at:
                    devices -= len(placement.device_ids)
                    cpu -= placement.cpu_millicores
                    memory -= placement.memory_bytes
            self._pool.keep(node, Kept(max(0, devices), max(0, cpu), max(0, memory), is_timed))


def _free_times(nodes: Sequence[Node], width: int) -> np.ndarray:
    """For each of the nodes, when so many of its devices are free, from none to `width` - 1."""
    always = [_ALWAYS * count for count in range(width + 1)]
    never = [_NEVER * count for count in range(width + 1)]
    blocks = []
    for node in nodes:
        count, ends = len(node.free) + 1, node.ends
        free = always[count if count < width else width]
        left = width - len(free) - len(ends)
        if left < 0:  # the caller says that more is free than is left beside the work on the node
            ends, left = ends[: width - len(free)], 0
        blocks += (free, ends, never[left])
    return np.frombuffer(b"".join(blocks)).reshape(len(nodes), width)


def _last_first(times: np.ndarray, now: float, until: float) -> np.ndarray:
    """The smaller, the later, of those by `until`; all that are free by `now` are equal."""
    return np.where(times <= until, -np.maximum(times, now), math.inf)


def _smallest(times: np.ndarray, count: int = _CANDIDATES) -> list[int]:
    """The indices of the `count` smallest, ascending; equal ones by index."""
    if count == 1 and len(times):
        return [int(times.argmin())]
    if len(times) <= count:
        return np.argsort(times, kind="stable").tolist()
    bound = np.partition(times, count - 1)[count - 1]
    below = np.flatnonzero(times <= bound)
    return below[np.argsort(times[below], kind="stable")][:count].tolist()
