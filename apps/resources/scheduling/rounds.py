"""One plan in the making: passes over the queue in order, each request granted, promised room, or passed over.

The order: requests inside their team's guarantee, then all others (who borrow); in each services first, then the
starving, the oldest at their head, then by the policy. What does not fit never holds up what does, but for one
reservation (EASY) and for the room that is being freed for somebody.
"""

import math
from bisect import insort
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from apps.resources.scheduling.grounds import NOBODY, Ground, Grounds
from apps.resources.scheduling.ledger import amounts_of, is_within, limit_reached
from apps.resources.scheduling.nodes import Kept, Part, Shape
from apps.resources.scheduling.policies.base import Sale
from apps.resources.scheduling.preemption import Displacement, Search
from apps.resources.scheduling.queue import Entry, Line, Ticket, unpark
from apps.resources.scheduling.reservations import Claim
from apps.resources.scheduling.types import Eviction, Grant, made

if TYPE_CHECKING:
    from apps.resources.scheduling.planner import Planner

# After so many searches in vain for worse-ranked work a plan stops asking: who comes later has a weaker claim.
SEARCHES = 8


@dataclass(slots=True)
class Outcome:
    """What a round decided. `being_freed` is, by beneficiary, how many devices were asked to leave for it."""

    grants: list[Grant] = field(default_factory=list)
    evictions: list[Eviction] = field(default_factory=list)
    being_freed: dict[int, int] = field(default_factory=dict)
    reserved_id: int | None = None
    reserved_at: float | None = None
    sale: Sale | None = None


class Round:
    """Decides once on a planner's state; afterwards grants count as started there and evictions as announced."""

    def __init__(self, planner: "Planner", now: float, sale: Sale | None) -> None:
        self._planner = planner
        self._policy = planner.policy
        self._settings = planner.settings
        self._pool = planner.pool
        self._ledger = planner.ledger
        self._now = now
        self._outcome = Outcome(sale=sale)
        self._prices = sale.prices if sale is not None else {}
        # Numbers of shapes: no room for anybody; none but for what ends before the reservation; nobody to send away
        # in this pass; and both no room and nobody.
        self._full: set[int] = set()
        self._only_short: set[int] = set()
        self._searched: set[int] = set()
        self._closed: set[int] = set()
        self._grounds = Grounds(planner, now)
        self._hopeless: dict[tuple[str, int], float] = {}  # by ground and shape: the best claim that found nobody
        self._failures = 0
        self._longest = -math.inf  # what ends within this many seconds may use reserved room
        self._promised: list[Ticket] = []
        self._spoken_for: set[int] = set()  # claims whose room, once they have left, is promised already
        self._is_guaranteed = False
        self._is_starving = False
        self._has_fed_starving = any(
            ticket.line.queue is planner.starving and ticket.request.id in planner.victims
            for ticket in self._beneficiaries()
        )

    def run(self) -> Outcome:
        self._keep_promises()
        for is_guaranteed in (True, False) if self._ledger.has_guarantees else (False,):
            for is_starving in (True, False):
                self._pass(is_guaranteed, is_starving)
        self._close()
        return self._outcome

    def _pass(self, is_guaranteed: bool, is_starving: bool) -> None:
        self._is_guaranteed = is_guaranteed
        self._is_starving = is_starving
        if is_guaranteed or (self._settings.is_preemptive and (is_starving or self._may_outrank())):
            self._searched.clear()
            self._closed.clear()  # there may be other grounds now to send work away
        queue = self._planner.starving if is_starving else self._planner.queue
        self._serve(queue.teams())

    def _may_outrank(self) -> bool:
        return self._settings.is_preemptive and self._policy.can_preempt and self._failures < SEARCHES

    def _beneficiaries(self) -> list[Ticket]:
        """Whom others were asked to leave for; first those for whom all are gone."""
        planner = self._planner
        waiting = [
            request_id for request_id in planner.promised.union(planner.victims) if request_id in planner.tickets
        ]
        return [planner.tickets[request_id] for request_id in sorted(waiting, key=lambda i: (i in planner.victims, i))]

    def _serve(self, teams: Iterable[list[Line]]) -> None:
        """Serve the heads of all lines in order until none can start. What a team is granted moves only its own lines,
        so that each team's are sorted by rank alone, and teams by their best line and their share."""
        order = []
        for lines in teams:
            heads = self._heads(lines)
            heads.sort()
            self._pass_over(heads)
            if heads:
                order.append(self._place(heads))
        order.sort()
        while order:
            heads = order.pop(0)[-1]
            entry = heads.pop(0)
            line, ticket = entry[-2], entry[-1]
            if self._attempt(ticket, line) and (following := self._head(line)) is not None:
                insort(heads, following)
            self._pass_over(heads)
            if heads:
                insort(order, self._place(heads))

    def _pass_over(self, heads: list[Entry]) -> None:
        """Look no further at lines that nothing can be done for, until one comes first for which something may be."""
        while heads:
            line, ticket = heads[0][-2:]
            number = line.shape.number
            if number in self._closed:
                del heads[0]
            elif number in self._only_short and number in self._searched and ticket.lane.seconds > self._longest:
                del heads[0]
                if (following := line.short_head(self._longest)) is not None:
                    insort(heads, following)
            else:
                break

    def _place(self, heads: list[Entry]) -> tuple:
        """Where a team stands among all with its best line, as much as it holds now; last, the `heads` of its lines."""
        head = heads[0]
        at = None if self._is_starving else self._policy.team_key_at
        if at is None:
            return head, heads
        use = head[-2].use
        key = self._policy.known_team_key(use, self._ledger.capacity) if use.key is None else use.key
        return (*head[:at], key, head, heads) if at else (key, head, heads)

    def _heads(self, lines: list[Line]) -> list[Entry]:
        """The heads of one team's lines, but of those that are sure to be refused: a team only gets more in a round."""
        use, ledger = lines[0].use, self._ledger
        if self._is_guaranteed:
            lines = [line for line in lines if use.is_inside(line.shape.asked)] if use.may_be_inside() else ()
            if not lines:
                return []
        lockable = ledger.lockable(use) if ledger.has_guarantees else None
        return [
            line.heads[0]
            for line in lines
            if line.heads and (line.is_preemptible or lockable is None or is_within(line.shape.asked, lockable))
        ]

    def _head(self, line: Line) -> Entry | None:
        number = line.shape.number
        if number in self._closed:
            return None
        if number in self._only_short and number in self._searched:
            return line.short_head(self._longest)
        return line.heads[0] if line.heads else None

    def _attempt(self, ticket: Ticket, line: Line) -> bool:
        """Serve one head. Whether the line may have another that could start."""
        use, shape = line.use, line.shape
        if shape.number in self._closed:
            return False
        asked = shape.asked
        if self._is_guaranteed and not use.is_inside(asked):
            return False
        if (use.may_be_refused and use.refusal(shape.demand)) or (
            use.has_limit and use.first_over(asked, shape.jobs, use.team.limit)
        ):
            return False
        if use.has_user_limit and ticket.person.first_over(asked, shape.jobs, use.team.user_limit):
            line.queue.park(ticket)
            return True
        if not line.is_preemptible and not self._ledger.may_lock(use, asked):
            return False
        is_short = ticket.lane.seconds <= self._longest
        if shape.number not in self._full and (is_short or shape.number not in self._only_short):
            parts = self._pool.find(shape, is_short)
            if parts is not None:
                self._grant(ticket, line, parts)
                return True
            has_short = not is_short and self._longest > 0
            (self._only_short if has_short else self._full).add(shape.number)
        if shape.number not in self._searched:
            if self._make_room(ticket, line):
                return True
            self._searched.add(shape.number)
            self._reserve(ticket, shape)
        if shape.number in self._full:
            self._closed.add(shape.number)
            return False
        return True

    def _grant(self, ticket: Ticket, line: Line, parts: list[Part]) -> None:
        planner, request, request_id = self._planner, ticket.request, ticket.id
        placements = self._pool.take(request_id, parts, line.is_preemptible)
        line.queue.drop(ticket)
        del planner.tickets[request_id]
        if request_id in planner.promised:
            planner.promised.discard(request_id)
            request = replace(request, is_promised=False)
        claim = Claim(
            request,
            request_id,
            placements,
            self._now,
            ticket.seconds,
            line.use,
            ticket.person,
            line.shape.asked,
            line.shape.jobs,
            line.is_preemptible,
        )
        planner.start(claim, parts)
        if request_id in planner.victims:
            planner.touch_victims(request_id)
        self._outcome.grants.append(made(Grant, (request_id, placements, self._prices.get(request_id, 0.0))))

    def _reserve(self, ticket: Ticket, shape: Shape) -> None:
        """EASY: the first that must wait gets the earliest start, and nobody after it may delay that."""
        if self._outcome.reserved_id is not None or not (self._policy.has_reservations or self._is_starving):
            return
        is_firm = self._is_starving or not self._policy.is_hopeful
        reservation = self._planner.timeline.reserve(shape, self._now, is_firm)
        if reservation is None:
            return
        self._planner.timeline.keep_for(reservation, is_timed=True)
        if not (self._is_starving and self._policy.is_hopeful):
            self._longest = reservation.starts_at - self._now
        self._outcome.reserved_id = ticket.request.id
        self._outcome.reserved_at = reservation.starts_at

    def _keep_promises(self) -> None:
        """Room that is being freed for a request stays its own; it starts as soon as all of it is free."""
        planner = self._planner
        for ticket in self._beneficiaries():
            line, request = ticket.line, ticket.request
            if limit_reached(line.use, request) is not None:
                continue
            if not request.is_preemptible and not self._ledger.may_lock(line.use, amounts_of(request.demand)):
                continue
            parts = self._pool.find(line.shape)
            if parts is not None:
                self._grant(ticket, line, parts)
                continue
            leaving = tuple(planner.claims[claim_id] for claim_id in sorted(planner.victims.get(request.id, ())))
            found = self._search(ticket, NOBODY, leaving).cheapest(line.shape)
            if found is not None:
                self._promise(ticket, found, leaving)

    def _make_room(self, ticket: Ticket, line: Line) -> bool:
        """Promise the request room that is leaving for nobody, or send the cheapest set of others away for it."""
        coming = self._coming()
        for ground in self._grounds_for(ticket, bool(coming)):
            search = (ground.code, line.shape.number)
            if ground.bar >= self._hopeless.get(search, math.inf):
                continue  # who had a better claim to as much has found nobody
            found = self._search(ticket, ground, coming).cheapest(line.shape)
            if found is None:
                self._hopeless[search] = ground.bar
                self._failures += ground.code == "outranked"
                continue
            for claim in found.victims:
                self._planner.leave(claim.id, ticket.id)
                self._grounds.leave(claim)
                self._outcome.evictions.append(Eviction(claim.id, ticket.id, ground.code))
            self._has_fed_starving |= ground.code in ("starving", "serving")
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

    def _grounds_for(self, ticket: Ticket, has_coming: bool) -> Iterator[Ground]:
        """Why others may have to leave for the request, the least contestable ground first."""
        if has_coming:
            yield NOBODY
        if self._is_guaranteed:
            yield self._grounds.reclaimed(ticket)
        if not self._settings.is_preemptive:
            return
        if self._is_starving and not self._has_fed_starving:
            yield self._grounds.starving(ticket)
        if self._may_outrank():
            yield from self._grounds.outranked(ticket)

    def _search(self, ticket: Ticket, ground: Ground, leaving: tuple[Claim, ...]) -> Search:
        loss = (lambda claim: 1.0 / self._grounds.grip(claim)) if self._policy.takes_loosest else None
        return Search(self._pool, ground, ticket.line.use.team.id, leaving, loss)

    def _promise(self, ticket: Ticket, found: Displacement, leaving: tuple[Claim, ...]) -> None:
        """Keep the place for the request: what is free there now, beside what comes free as others leave."""
        for node, devices, cpu, memory in found.parts:
            for claim in leaving:
                placement = node.claims.get(claim.id)
                if placement is not None:
                    self._spoken_for.add(claim.id)
                    devices -= len(placement.device_ids)
                    cpu -= placement.cpu_millicores
                    memory -= placement.memory_bytes
            self._pool.keep(node, Kept(max(0, devices), max(0, cpu), max(0, memory), is_timed=False))
        line = ticket.line
        line.queue.drop(ticket)
        self._charge(ticket)
        self._promised.append(ticket)
        self._outcome.being_freed[ticket.request.id] = sum(
            len(placement.device_ids) for claim in leaving for placement in claim.placements
        )

    def _charge(self, ticket: Ticket, sign: int = 1) -> None:
        line, shape = ticket.line, ticket.line.shape
        self._ledger.charge(line.use, ticket.person, shape.asked, shape.jobs, line.is_preemptible, sign)

    def _close(self) -> None:
        for ticket in self._promised:
            self._charge(ticket, -1)
            self._planner.enqueue(replace(ticket.request, is_promised=True), ticket.line.queue)
            unpark(ticket.person)
        self._pool.keep_nothing()
