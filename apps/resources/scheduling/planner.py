"""The pool, its teams and its queue, kept from one plan to the next so that a plan costs what has changed.

`plan(snapshot)` is a planner that decides once. A planner that is told every change says the same as a fresh plan.
"""

from collections.abc import Iterable, Sequence
from heapq import heappop, heappush

from apps.resources.scheduling.ledger import Ledger, TeamUse, amounts_of, limit_reached
from apps.resources.scheduling.nodes import Held, Part, Shape
from apps.resources.scheduling.policies import POLICIES, Policy
from apps.resources.scheduling.policies.base import Market, Sale
from apps.resources.scheduling.pool import Pool
from apps.resources.scheduling.queue import Queue, Rank, Ticket, expected_seconds, unpark
from apps.resources.scheduling.reasons import WaitingList
from apps.resources.scheduling.reservations import Claim, Timeline
from apps.resources.scheduling.rounds import Round
from apps.resources.scheduling.types import (
    Demand,
    NodeState,
    Plan,
    PolicySettings,
    Request,
    Running,
    Snapshot,
    Team,
)


class Planner:
    """Tell it what changes, then ask it to `decide`. The time given to it must not go backwards.

    `decide` takes its own grants for started and its own evictions for announced. When evicted work is gone, tell
    `finish`, and `submit` it again if it is to go on. Unknown ids raise KeyError.
    """

    def __init__(self, snapshot: Snapshot, policy: Policy | None = None) -> None:
        """`policy` takes the place of the one that the settings name."""
        self.settings: PolicySettings = snapshot.settings
        self.policy = policy or POLICIES[snapshot.settings.policy](snapshot.settings)
        self.pool = Pool(snapshot.nodes)
        self.claims: dict[int, Claim] = {}
        self.tickets: dict[int, Ticket] = {}
        self.ledger = Ledger(snapshot.teams, (0, 0, 0))
        self.timeline = Timeline(self.pool, self.claims, self.is_awaited)
        self.queue = Queue(self.policy.rank, self.policy.backfill_seconds)
        self.starving = Queue(_rank_of_starving, self.policy.backfill_seconds)
        self.victims: dict[int, set[int]] = {}  # by beneficiary: who was asked to leave for it
        self.promised: set[int] = set()  # who waits and had others asked to leave for it
        self.version = 0
        self._shapes: dict[tuple, Shape] = {}
        self._waits: list[tuple[float, int]] = []
        self._set_clock(snapshot.now)
        for running in snapshot.running:
            self._adopt(running)
        self.ledger.change_capacity(self.pool.capacity())
        for request in snapshot.requests:
            self.submit(request)

    def submit(self, request: Request) -> None:
        """Add pending work; a request with the same id is replaced."""
        if request.id in self.tickets:
            self.withdraw(request.id)
        self.version += 1
        self.enqueue(request, self.starving if request.demand.is_service else self.queue)
        heappush(self._waits, (waiting_since(request), request.id))
        if request.id in self.victims:
            self.touch_victims(request.id)

    def withdraw(self, request_id: int) -> None:
        """Pending work was cancelled."""
        self.version += 1
        ticket = self.tickets.pop(request_id)
        self.promised.discard(request_id)
        ticket.line.queue.drop(ticket)
        self.touch_victims(request_id)

    def revise(self, request: Request) -> None:
        """More is known of waiting or running work, such as a better estimate; what it asks for is the same."""
        claim = self.claims.get(request.id)
        if claim is None:
            queue = self.tickets[request.id].line.queue
            queue.drop(self.tickets[request.id])
            self.enqueue(request, queue)
        else:
            claim.revise(request)
            self.timeline.recount(claim)
        self.version += 1

    def finish(self, request_id: int) -> None:
        """Running work is gone, for whatever reason, and has given its devices back."""
        self.version += 1
        claim = self.claims[request_id]
        held = self.pool.give_back(request_id, claim.placements, claim.is_preemptible)
        self.timeline.discount(claim, held)
        if self.pool.has_closed and not all(node.is_open for node, _ in held):
            self.ledger.change_capacity(self.pool.capacity())
        del self.claims[request_id]
        self.ledger.charge(claim.use, claim.person, claim.asked, claim.jobs, claim.is_preemptible, -1)
        if claim.person.parked:
            unpark(claim.person)
        if claim.leaving_for is not None:
            claim.use.change_leaving(claim.asked, -1)
            self._forget_victim(claim)

    def leave(self, request_id: int, for_request_id: int = 0) -> None:
        """Running work was asked to leave: for a request, or 0 for nobody in particular (drained, cancelled)."""
        self.version += 1
        claim = self.claims[request_id]
        if claim.leaving_for is None:
            claim.use.change_leaving(claim.asked, 1)
        else:
            self._forget_victim(claim)
        claim.leaving_for = for_request_id
        self.victims.setdefault(for_request_id, set()).add(request_id)
        self.timeline.recount(claim)

    def change_node(self, state: NodeState) -> None:
        """A node is new, or opened, closed or changed; `state` says what is free on it now."""
        self.version += 1
        self.pool.change(state)
        self.ledger.change_capacity(self.pool.capacity())

    def remove_node(self, node_id: int) -> None:
        """A node is gone for good. What ran on it is to be finished by the caller."""
        self.version += 1
        self.pool.remove(node_id)
        self.ledger.change_capacity(self.pool.capacity())

    def change_team(self, team: Team) -> None:
        """A team is new, or its promises, limits or past use changed: its queue is sorted anew."""
        self.version += 1
        self.ledger.change_team(team)
        for person in self.ledger.of(team.id).users.values():
            unpark(person)
        self._requeue(ticket for ticket in self.tickets.values() if ticket.request.team_id == team.id)

    def decide(self, now: float) -> Plan:
        """Give every pending request a grant or a reason to wait, as of `now`."""
        self.version += 1
        self._age(now)
        if self._set_clock(now):
            self._requeue(ticket for ticket in self.tickets.values() if ticket.line.queue is self.queue)
        sale = self._sell() if self.policy.has_market else None
        outcome = Round(self, now, sale).run()
        return Plan(
            grants=tuple(outcome.grants),
            waiting=WaitingList(self, outcome),
            evictions=tuple(outcome.evictions),
            clearing_price=sale and sale.clearing_price,
        )

    def snapshot(self, now: float) -> Snapshot:
        """The same state as plain values."""
        return Snapshot(
            now=now,
            nodes=tuple(node.state() for _, node in sorted(self.pool.nodes.items())),
            requests=tuple(ticket.request for _, ticket in sorted(self.tickets.items())),
            running=tuple(
                Running(claim.request, claim.placements, claim.started_at, claim.leaving_for)
                for _, claim in sorted(self.claims.items())
            ),
            teams={team_id: use.team for team_id, use in self.ledger.uses.items()},
            settings=self.settings,
        )

    def order(self, ticket: Ticket) -> tuple[bool, Rank, int]:
        """Where a ticket stands among all that wait: services and the starving first, then by the policy."""
        line = ticket.line
        is_starving = line.queue is self.starving
        return not is_starving, ticket.rank if is_starving else self.key(ticket), ticket.request.id

    def key(self, ticket: Ticket) -> Rank:
        """A ticket's rank among those of all teams, as much as each team holds now."""
        at = self.policy.team_key_at
        if at is None:
            return ticket.rank
        key = self.policy.known_team_key(ticket.line.use, self.ledger.capacity)
        return (*ticket.rank[:at], key, *ticket.rank[at:])

    def shape_of(self, demand: Demand) -> Shape:
        # The hash of a dataclass is slow.
        key = (
            demand.devices,
            demand.cpu_millicores,
            demand.memory_bytes,
            demand.device_kind,
            demand.max_nodes,
            demand.is_service,
        )
        shape = self._shapes.get(key)
        if shape is None:
            shape = self._shapes[key] = Shape(demand, len(self._shapes))
        return shape

    def enqueue(self, request: Request, queue: Queue) -> None:
        use = self.ledger.of(request.team_id)
        if request.is_promised:
            self.promised.add(request.id)
        self.tickets[request.id] = queue.add(request, use, self.shape_of(request.demand))

    def start(self, claim: Claim, held: Held | Sequence[Part]) -> None:
        """Charge granted work whose devices are already taken."""
        self.claims[claim.id] = claim
        self.ledger.charge(claim.use, claim.person, claim.asked, claim.jobs, claim.is_preemptible)
        self.timeline.count(claim, held)

    def touch_victims(self, request_id: int) -> None:
        """A beneficiary waits no longer, or again: its victims' room comes free for all, or for it alone."""
        if request_id in self.victims:
            for claim_id in self.victims[request_id]:
                self.timeline.recount(self.claims[claim_id])

    def is_awaited(self, request_id: int) -> bool:
        return request_id in self.tickets

    def _adopt(self, running: Running) -> None:
        request = running.request
        use, shape = self.ledger.of(request.team_id), self.shape_of(request.demand)
        claim = Claim(
            request,
            request.id,
            running.placements,
            running.started_at,
            expected_seconds(request),
            use,
            use.user(request.user_id),
            shape.asked,
            shape.jobs,
            request.is_preemptible,
        )
        self.start(claim, self.pool.adopt(request.id, running.placements, request.is_preemptible))
        if running.leaving_for is not None:
            self.leave(running.request.id, running.leaving_for)

    def _forget_victim(self, claim: Claim) -> None:
        victims = self.victims.get(claim.leaving_for)
        if victims is not None:
            victims.discard(claim.id)
            if not victims:
                del self.victims[claim.leaving_for]

    def _set_clock(self, now: float) -> bool:
        """Whether the policy's clock has moved on."""
        step = self.policy.clock_seconds
        if step is None or now // step * step == self.policy.clock:
            return False
        self.policy.clock = now // step * step
        return True

    def _age(self, now: float) -> None:
        """Move what has waited too long into the queue of the starving."""
        while self._waits and self._waits[0][0] + self.settings.starvation_seconds <= now:
            since, request_id = heappop(self._waits)
            ticket = self.tickets.get(request_id)
            if ticket is None or waiting_since(ticket.request) != since or ticket.line.queue is self.starving:
                continue
            self.queue.drop(ticket)
            self.enqueue(ticket.request, self.starving)

    def _sell(self) -> Sale:
        """Hold the policy's market over what is free, less what comes before any bid; then sort the queue anew."""
        for_sale: dict[str, int] = {}
        for node in self.pool.open_nodes:
            for_sale[node.kind] = for_sale.get(node.kind, 0) + len(node.free)
        bidders = []
        for _, ticket in sorted(self.tickets.items()):
            line, request = ticket.line, ticket.request
            devices = request.demand.devices
            if not devices or limit_reached(line.use, request) is not None:
                continue
            if line.queue is self.starving or line.use.is_inside(amounts_of(request.demand)):
                fitting = [kind for kind in line.shape.kinds_of(for_sale) if for_sale[kind] >= devices]
                if fitting:
                    for_sale[max(fitting, key=lambda kind: (for_sale[kind], kind))] -= devices
            else:
                bidders.append(request)
        sale = self.policy.sell(Market(bidders, for_sale, self.ledger.of))
        self._requeue(ticket for ticket in self.tickets.values() if ticket.line.queue is self.queue)
        return sale

    def _requeue(self, tickets: Iterable[Ticket]) -> None:
        for ticket in list(tickets):
            queue = ticket.line.queue
            queue.drop(ticket)
            self.enqueue(ticket.request, queue)


def waiting_since(request: Request) -> float:
    return request.submitted_at if request.waiting_since is None else request.waiting_since


def _rank_of_starving(request: Request, use: TeamUse) -> Rank:
    return (request.demand.jobs, waiting_since(request))
