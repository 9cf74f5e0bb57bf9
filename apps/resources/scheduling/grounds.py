"""On what grounds running work may be sent away in one plan, and whose on which node."""

from collections.abc import Callable, Iterator, Sequence, Set
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from apps.resources.scheduling.nodes import Node
from apps.resources.scheduling.queue import Ticket
from apps.resources.scheduling.reservations import Claim

if TYPE_CHECKING:
    from apps.resources.scheduling.planner import Planner


class Ground(NamedTuple):
    """Why others may have to leave for a request. `bar` says how bad its claim is: the worse, the fewer it may send
    away. `candidates` are who may be, by node and there by id; they hold no more than `most` devices of it."""

    code: str
    bar: float
    candidates: Callable[[Node], Sequence[Claim]]
    most: Callable[[Node], int]


NOBODY = Ground("", 0.0, lambda node: (), lambda node: 0)


def _loose_devices(node: Node) -> int:
    return node.loose_devices


class Grounds:
    """Those of one plan, as of `now`."""

    def __init__(self, planner: "Planner", now: float) -> None:
        self._planner = planner
        self._policy = planner.policy
        self._ledger = planner.ledger
        self._least_seconds = planner.settings.min_runtime_seconds
        self._now = now
        self._grips: dict[int, float] = {}
        self._ripe: dict[int, list[tuple[int, Claim]]] = {}  # by node: what may be preempted at all, and its team

    def reclaimed(self, ticket: Ticket) -> Ground:
        """The request is inside its team's guarantee."""
        own = ticket.line.use.team.id
        candidates = lambda node: [claim for team, claim in self.ripe_on(node) if team != own]  # noqa: E731
        return Ground("reclaimed", 0.0, candidates, _loose_devices)

    def starving(self, ticket: Ticket) -> Ground:
        """The request has waited for too long, or serves."""
        if ticket.line.shape.demand.is_service:
            return Ground("serving", 0.0, lambda node: [claim for _, claim in self.ripe_on(node)], _loose_devices)
        since = ticket.request.submitted_at
        return Ground("starving", since, partial(self._younger, since), _loose_devices)

    def outranked(self, ticket: Ticket) -> Iterator[Ground]:
        """The policy prefers the request to some running work; nothing if it is plain that it does not."""
        use, capacity, policy = ticket.line.use, self._ledger.capacity, self._policy
        bar, tightest = policy.claim(ticket.request, use, capacity), policy.tightest_grip
        teams = {team_id for team_id, of in self._ledger.uses.items() if bar < tightest(of, capacity)}
        if teams:
            yield Ground("outranked", bar, partial(self._outranked, teams, bar), partial(self._most_of, teams))

    def leave(self, claim: Claim) -> None:
        """Work was asked to leave: nobody can send it away again."""
        for node, _ in self._planner.pool.held_by(claim.id, claim.placements):
            self._ripe.pop(node.id, None)
            node.loose_teams = None

    def _most_of(self, teams: Set[int], node: Node) -> int:
        here = node.loose_teams
        if here is None:
            here = self._find_loose_teams(node)
        return 0 if teams.isdisjoint(here) else node.loose_devices

    def _outranked(self, teams: Set[int], bar: float, node: Node) -> Sequence[Claim]:
        return [claim for team, claim in self.ripe_on(node) if team in teams and bar < self.grip(claim)]

    def grip(self, claim: Claim) -> float:
        policy, capacity = self._policy, self._ledger.capacity
        if policy.team_key_at is not None:  # it moves with what the team is granted
            return policy.grip(claim, claim.use, capacity, self._now)
        grip = self._grips.get(claim.id)
        if grip is None:
            grip = self._grips[claim.id] = policy.grip(claim, claim.use, capacity, self._now)
        return grip

    def _younger(self, since: float, node: Node) -> list[Claim]:
        return [claim for _, claim in self.ripe_on(node) if claim.request.submitted_at > since]

    def _find_loose_teams(self, node: Node) -> Set[int]:
        """Whose work on the node may be preempted, sooner or later."""
        claims = map(self._planner.claims.__getitem__, node.claims)
        node.loose_teams = {claim.use.team.id for claim in claims if claim.is_preemptible and claim.leaving_for is None}
        return node.loose_teams

    def ripe_on(self, node: Node) -> list[tuple[int, Claim]]:
        """By id, running work that has had the time that it was promised and may be preempted, with its team."""
        ripe = self._ripe.get(node.id)
        if ripe is None:
            claims = map(self._planner.claims.__getitem__, sorted(node.claims))
            ripe = [(claim.use.team.id, claim) for claim in claims if self.is_ripe(claim)]
            self._ripe[node.id] = ripe
        return ripe

    def is_ripe(self, claim: Claim) -> bool:
        ran = self._now - claim.started_at
        has_run = ran > 0 and ran >= self._least_seconds
        return has_run and claim.is_preemptible and claim.leaving_for is None
