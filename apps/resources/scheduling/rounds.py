"""One plan in the making: passes over the queue in order, each request granted, promised room, or passed over.

The order: requests inside their team's guarantee, then all others (who borrow); in each the starving first, the oldest
at their head, then by the policy. What does not fit never holds up what does, but for one reservation (EASY)
and for the room that is being freed for somebody.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from apps.resources.scheduling.ledger import amounts_of, limit_reached
from apps.resources.scheduling.pool import Kept, Part, Shape
from apps.resources.scheduling.preemption import Displacement, Search
from apps.resources.scheduling.queue import Line, Rank, Ticket
from apps.resources.scheduling.reservations import Claim
from apps.resources.scheduling.types import Eviction, Grant

if TYPE_CHECKING:
    from apps.resources.scheduling.planner import Planner

SHORT, NOBODY = "short", "nobody"  # for whom there is still room


@dataclass(slots=True)
class Outcome:
    """What a round decided. `being_freed` is, by beneficiary, how many devices were asked to leave for it."""

    grants: list[Grant] = field(default_factory=list)
    evictions: list[Eviction] = field(default_factory=list)
    being_freed: dict[int, int] = field(default_factory=dict)
    reserved_id: int | None = None
    reserved_at: float | None = None
    clearing_price: float | None = None


class Round:
    """Decides once on a planner's state; afterwards grants count as started there and evictions as announced."""

    def __init__(self, planner: "Planner", now: float) -> None:
        self._planner = planner
        self._policy = planner.policy
        self._settings = planner.settings
        self._pool = planner.pool
        self._ledger = planner.ledger
        self._now = now
        self._outcome = Outcome()
        self._room: dict[int, str] = {}  # by shape: SHORT or NOBODY, once it did not fit
        self._searched: set[int] = set()  # shapes for which this pass found nobody to send away
        self._longest = -math.inf  # what ends within this many seconds may use reserved room
        self._promised: list[Ticket] = []
        self._spoken_for: set[int] = set()  # claims whose room, once they have left, is promised already
        self._is_guaranteed = False
        self._is_starving = False
        self._key: Callable[[Ticket], Rank] = planner.key
        self._has_fed_starving = any(ticket.lane.line.queue is planner.starving for ticket in self._beneficiaries())

    def run(self) -> Outcome:
        self._keep_promises()
        for self._is_guaranteed in (True, False):
            if self._is_guaranteed and not self._ledger.has_guarantees:
                continue
            for self._is_starving in (True, False):
                queue = self._planner.starving if self._is_starving else self._planner.queue
                self._searched.clear()
                self._key = _own_rank if self._is_starving else self._planner.key
                self._serve(queue.lines())
        self._close()
        return self._outcome

    def _beneficiaries(self) -> list[Ticket]:
        tickets = self._planner.tickets
        return [tickets[request_id] for request_id in sorted(self._planner.victims) if request_id in tickets]

    def _serve(self, lines: Iterable[Line]) -> None:
        heap: list[tuple[Rank, int, Line, Ticket]] = []
        for line in lines:
            if not self._is_guaranteed or line.use.is_inside(amounts_of(line.shape.demand)):
                self._enter(heap, line)
        heapify(heap)
        while heap:
            key, _, line, ticket = heap[0]
            if ticket.is_live and self._key(ticket) > key:  # its team has got something meanwhile
                heappop(heap)
                self._push(heap, line)
                continue
            heappop(heap)
            if not ticket.is_live or self._attempt(ticket, line):
                self._push(heap, line)

    def _enter(self, heap: list, line: Line) -> None:
        ticket = self._head(line)
        if ticket is not None:
            heap.append((self._key(ticket), ticket.request.id, line, ticket))

    def _push(self, heap: list, line: Line) -> None:
        ticket = self._head(line)
        if ticket is not None:
            heappush(heap, (self._key(ticket), ticket.request.id, line, ticket))

    def _head(self, line: Line) -> Ticket | None:
        room = self._room.get(line.shape.number)
        if room is None or line.shape.number not in self._searched:
            return line.head()
        return line.short_head(self._longest) if room is SHORT else None

    def _attempt(self, ticket: Ticket, line: Line) -> bool:
        """Serve one head. Whether the line may have another that could start."""
        use, shape, request = line.use, line.shape, ticket.request
        asked = amounts_of(request.demand)
        if self._is_guaranteed and not use.is_inside(asked):
            return False
        if use.refusal(shape.devices) or (use.has_limit and use.first_over(asked, use.team.limit)):
            return False
        if use.has_user_limit and use.user(request.user_id).first_over(asked, use.team.user_limit):
            line.queue.park(ticket.lane)
            return True
        if not request.is_preemptible and not self._ledger.may_lock(use, asked):
            return False
        is_short = ticket.lane.seconds <= self._longest
        room = self._room.get(shape.number)
        if room is None or (room is SHORT and is_short):
            parts = self._pool.find(shape, is_short)
            if parts is not None:
                self._grant(ticket, line, parts)
                return True
            has_short = not is_short and self._longest > 0
            self._room[shape.number] = SHORT if has_short else NOBODY
        if shape.number not in self._searched:
            if self._make_room(ticket, line):
                return True
            self._searched.add(shape.number)
            self._reserve(ticket, shape)
        return self._room[shape.number] is SHORT

    def _grant(self, ticket: Ticket, line: Line, parts: list[Part]) -> None:
        planner, request = self._planner, ticket.request
        placements = self._pool.take(request.id, parts)
        line.queue.drop(ticket)
        del planner.tickets[request.id]
        planner.start(Claim(request, placements, self._now))
        planner.touch_victims(request.id)
        self._outcome.grants.append(Grant(request.id, placements))

    def _reserve(self, ticket: Ticket, shape: Shape) -> None:
        """EASY: the first that must wait gets the earliest start, and nobody after it may delay that."""
        if self._outcome.reserved_id is not None:
            return
        reservation = self._planner.timeline.reserve(shape, self._now)
        if reservation is None:
            return
        self._planner.timeline.keep_for(reservation, is_timed=True)
        self._longest = reservation.starts_at - self._now
        self._outcome.reserved_id = ticket.request.id
        self._outcome.reserved_at = reservation.starts_at

    def _keep_promises(self) -> None:
        """Room that is being freed for a request stays its own; it starts as soon as all of it is free."""
        planner = self._planner
        for ticket in self._beneficiaries():
            line, request = ticket.lane.line, ticket.request
            if limit_reached(line.use, request) is not None:
                continue
            if not request.is_preemptible and not self._ledger.may_lock(line.use, amounts_of(request.demand)):
                continue
            parts = self._pool.find(line.shape)
            if parts is not None:
                self._grant(ticket, line, parts)
                continue
            leaving = tuple(planner.claims[claim_id] for claim_id in sorted(planner.victims[request.id]))
            found = self._search(ticket, _nobody, leaving).cheapest(line.shape)
            if found is not None:
                self._promise(ticket, found, leaving)

    def _make_room(self, ticket: Ticket, line: Line) -> bool:
        """Promise the request room that is leaving for nobody, or send the cheapest set of others away for it."""
        coming = self._coming()
        for code, may_take in self._grounds(ticket, line, bool(coming)):
            found = self._search(ticket, may_take, coming).cheapest(line.shape)
            if found is None:
                continue
            for claim in found.victims:
                self._planner.leave(claim.request.id, ticket.request.id)
                self._outcome.evictions.append(Eviction(claim.request.id, ticket.request.id, code))
            self._has_fed_starving |= code == "starving"
            self._promise(ticket, found, coming + found.victims)
            return True
        return False

    def _coming(self) -> tuple[Claim, ...]:
        """Running work that leaves for nobody that still waits, and whose room is not promised yet."""
        planner = self._planner
        return tuple(
            planner.claims[claim_id]
            for request_id in sorted(planner.victims)
            if request_id not in planner.tickets
            for claim_id in sorted(planner.victims[request_id])
            if claim_id not in self._spoken_for
        )

    def _grounds(self, ticket: Ticket, line: Line, has_coming: bool) -> Iterator[tuple[str, Callable[[Claim], bool]]]:
        """Why others may have to leave for the request, the least contestable ground first."""
        request, use, ledger = ticket.request, line.use, self._ledger
        if has_coming:
            yield "", _nobody
        if self._is_guaranteed:
            yield "reclaimed", lambda claim: self._may_go(claim) and claim.request.team_id != request.team_id
        if not self._settings.is_preemptive:
            return
        if self._is_starving and not self._has_fed_starving:
            yield "starving", lambda claim: self._may_go(claim) and claim.request.submitted_at > request.submitted_at
        if self._policy.can_preempt:
            bar = self._policy.claim(request, use, ledger.capacity)
            yield (
                "outranked",
                lambda claim: (
                    self._may_go(claim)
                    and bar < self._policy.grip(claim, ledger.of(claim.request.team_id), ledger.capacity, self._now)
                ),
            )

    def _may_go(self, claim: Claim) -> bool:
        """Whether running work has had the time that it was promised, and may be preempted at all."""
        ran = self._now - claim.started_at
        return (
            claim.request.is_preemptible
            and claim.leaving_for is None
            and ran > 0
            and ran >= self._settings.min_runtime_seconds
        )

    def _search(self, ticket: Ticket, may_take: Callable[[Claim], bool], leaving: tuple[Claim, ...]) -> Search:
        return Search(self._pool, self._planner.claims, self._ledger.of, may_take, ticket.request.team_id, leaving)

    def _promise(self, ticket: Ticket, found: Displacement, leaving: tuple[Claim, ...]) -> None:
        """Keep the place for the request: what is free there now, beside what comes free as others leave."""
        for node, devices, cpu, memory in found.parts:
            for claim in leaving:
                placement = node.claims.get(claim.request.id)
                if placement is not None:
                    self._spoken_for.add(claim.request.id)
                    devices -= len(placement.device_ids)
                    cpu -= placement.cpu_millicores
                    memory -= placement.memory_bytes
            self._pool.keep(node, Kept(max(0, devices), max(0, cpu), max(0, memory), is_timed=False))
        line = ticket.lane.line
        line.queue.drop(ticket)
        self._ledger.charge(ticket.request, line.use)
        self._promised.append(ticket)
        self._outcome.being_freed[ticket.request.id] = sum(
            len(placement.device_ids) for claim in leaving for placement in claim.placements
        )

    def _close(self) -> None:
        for ticket in self._promised:
            line = ticket.lane.line
            self._ledger.charge(ticket.request, line.use, -1)
            self._planner.enqueue(ticket.request, line.queue)
            self._planner.unpark(ticket.request.team_id, ticket.request.user_id)
        self._pool.keep_nothing()


def _own_rank(ticket: Ticket) -> Rank:
    return ticket.rank


def _nobody(claim: Claim) -> bool:
    return False
