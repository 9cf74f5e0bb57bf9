"""Why each request waits, worked out when somebody asks: a plan of 100,000 waits costs nothing until it is read."""

from collections.abc import Sequence
from heapq import nsmallest
from typing import TYPE_CHECKING, overload

from apps.resources.scheduling.feasibility import shape_never_fits
from apps.resources.scheduling.ledger import amounts_of, limit_reached
from apps.resources.scheduling.nodes import Shape
from apps.resources.scheduling.queue import Ticket
from apps.resources.scheduling.types import Reason, Waiting

if TYPE_CHECKING:
    from apps.resources.scheduling.planner import Planner
    from apps.resources.scheduling.rounds import Outcome

# How many holders a reason names at most.
HOLDERS = 8


class WaitingList(Sequence[Waiting]):
    """All who wait, in the policy's order, read from the planner's state after the plan.

    Reading it for the first time after the planner was told a change or decided again raises RuntimeError.
    """

    def __init__(self, planner: "Planner", outcome: "Outcome") -> None:
        self._planner = planner
        self._outcome = outcome
        self._version = planner.version
        self._length = len(planner.tickets)
        self._made: list[Waiting] | None = None

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> Waiting: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Waiting]: ...
    def __getitem__(self, index):
        return self._all()[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None

    def __repr__(self) -> str:
        return repr(self._all())

    def _all(self) -> list[Waiting]:
        if self._made is None:
            if self._planner.version != self._version:
                raise RuntimeError("The planner has moved on: read a plan's waiting list before the next change.")
            self._made = _Explainer(self._planner, self._outcome).explain()
        return self._made


class _Explainer:
    def __init__(self, planner: "Planner", outcome: "Outcome") -> None:
        self._planner = planner
        self._outcome = outcome
        self._shortages: dict[int, Reason | None] = {}

    def explain(self) -> list[Waiting]:
        planner, outcome = self._planner, self._outcome
        waiting = []
        for place, ticket in enumerate(sorted(planner.tickets.values(), key=planner.order), start=1):
            request_id = ticket.request.id
            starts_at = outcome.reserved_at if request_id == outcome.reserved_id else None
            waiting.append(Waiting(request_id, place, self._reason(ticket, place), starts_at))
        return waiting

    def _reason(self, ticket: Ticket, place: int) -> Reason:
        request, line = ticket.request, ticket.line
        shortage = self._shortage(line.shape)
        if shortage is not None and shortage.code in NEVER:
            return shortage
        refusal = limit_reached(line.use, request)
        if refusal is not None:
            return Reason(*refusal)
        if request.id in self._outcome.being_freed:
            return Reason("being_freed", {"devices": self._outcome.being_freed[request.id]})
        sale = self._outcome.sale
        if sale is not None and request.id in sale.thresholds:
            return Reason("outbid", {"price": sale.thresholds[request.id], "bid": request.bid})
        if not request.is_preemptible and not self._planner.ledger.may_lock(line.use, amounts_of(request.demand)):
            return Reason("promised", {"asks": request.demand.devices})
        if shortage is None:
            return Reason("behind", {"ahead": place - 1})
        return shortage

    def _shortage(self, shape: Shape) -> Reason | None:
        """What is missing for the shape; None if it fits in what is free, which then is kept for others."""
        if shape.number not in self._shortages:
            self._shortages[shape.number] = self._find_shortage(shape)
        return self._shortages[shape.number]

    def _find_shortage(self, shape: Shape) -> Reason | None:
        pool = self._planner.pool
        never = shape_never_fits(shape, pool.open_nodes)
        if never is not None:
            return never
        if pool.find(shape) is not None:
            return None
        _, kinds = pool.nodes_needed(shape)
        nodes = [node for node in pool.open_nodes if node.kind in kinds]
        asked = (shape.devices, shape.cpu, shape.memory)
        free = [sum(amounts) for amounts in zip(*((len(n.free), n.cpu, n.memory) for n in nodes), strict=True)]
        holders = self._holders(nodes)
        for at, code in enumerate(("devices_busy", "cpu_busy", "memory_busy")):
            if asked[at] > free[at]:
                return Reason(code, {"asks": asked[at], "free": free[at]}, holders)
        if not shape.devices:
            at = 1 if all(node.cpu < shape.cpu for node in nodes) else 2
            return Reason(("cpu_busy", "memory_busy")[at - 1], {"asks": asked[at], "free": free[at]}, holders)
        largest = max(len(node.free) for node in nodes)
        numbers = {"asks": shape.devices, "free": free[0], "largest_gap": largest}
        return Reason("fragmented", numbers, holders)

    def _holders(self, nodes: list) -> tuple[int, ...]:
        planner = self._planner
        on_nodes = {claim_id for node in nodes for claim_id in node.claims}
        soonest = nsmallest(HOLDERS, on_nodes, key=lambda i: (planner.timeline.ends_at(planner.claims[i]), i))
        return tuple(soonest)


NEVER = frozenset(("no_node_online", "kind_missing", "too_large_for_any_node", "too_large_for_pool"))
