"""The long way to a plan: a planner made anew each time, whose rounds remember nothing and skip nothing in advance."""

import math
from collections.abc import Iterator

import pytest

from apps.resources.scheduling import Planner
from apps.resources.scheduling import planner as planner_module
from apps.resources.scheduling.grounds import Grounds
from apps.resources.scheduling.preemption import Displacement, Search
from apps.resources.scheduling.rounds import Round

Decided = tuple


class PlainSearch(Search):
    """Looks at every node, and asks anew each time whose work on it may be sent away."""

    def _on_one_node(self, shape, kinds):
        best, best_key = None, None
        for node in _by_room(self._pool, kinds):
            missing = self._missing(node, shape.asked, self._leaving)
            victims = self._on_node(node, shape.asked, self._leaving)
            if victims is not None and (best is None or (self._cost(victims), node.id) < best_key):
                best, best_key = Displacement(victims, ((node, *shape.asked),)), (self._cost(victims), node.id)
                if best_key[0][:2] <= (0.0, max(missing[0], 0)):
                    break
        return best

    def _able(self, devices, kind):
        return (node for node in _by_room(self._pool, (kind,)) if self._movable(node) >= devices)

    def _on_node(self, node, asked, given):
        self._options.clear()
        return super()._on_node(node, asked, given)

    def _movable(self, node) -> int:
        """How many devices would be free if all work that may be preempted were gone."""
        return len(node.free) + sum(len(node.claims[claim.id].device_ids) for claim in self._loose(node))


class PlainGrounds(Grounds):
    """Asks all work on a node anew each time, remembering neither grips nor whose it is."""

    def _outranked(self, teams, bar, node):
        return [claim for _, claim in self.ripe_on(node) if bar < self.grip(claim)]

    def grip(self, claim):
        claim.use.forget()
        return self._policy.grip(claim, claim.use, self._ledger.capacity, self._now)

    def ripe_on(self, node):
        self._ripe.clear()
        return super().ripe_on(node)


class PlainRound(Round):
    """Looks at all lines and all that waits in them at every step, remembers no share, and skips nothing in advance."""

    def __init__(self, planner, now, sale):
        super().__init__(planner, now, sale)
        self._grounds = PlainGrounds(planner, now)

    def _serve(self, teams):
        lines = [line for of_team in teams for line in of_team]
        heads = {line: head for line in lines if (head := self._plain_head(line)) is not None}
        while heads:
            line = min(heads, key=lambda line: self._plain_place(heads[line]))
            for use in self._ledger.uses.values():
                use.forget()
            has_more = self._attempt(heads[line][-1], line)
            head = self._plain_head(line) if has_more else None
            if head is None:
                del heads[line]
            else:
                heads[line] = head

    def _plain_head(self, line):
        shape = line.shape.number
        waiting = [
            (*ticket.rank, ticket.id, line, ticket)
            for ticket in self._planner.tickets.values()
            if ticket.line is line and not ticket.lane.is_parked and ticket not in self._promised
        ]
        if shape in self._only_short and shape in self._searched:
            waiting = [entry for entry in waiting if entry[-1].lane.seconds <= self._longest]
        return None if shape in self._closed else min(waiting, default=None, key=lambda entry: entry[:-2])

    def _plain_place(self, head):
        at = None if self._is_starving else self._policy.team_key_at
        if at is None:
            return head[:-2]
        return (*head[:at], self._policy.team_key(head[-1].line.use, self._ledger.capacity), *head[at:-2])

    def _search(self, ticket, candidates, leaving):
        search = super()._search(ticket, candidates, leaving)
        search.__class__ = PlainSearch
        search._most = lambda node: math.inf
        search._loose = lambda node: [c for i in node.claims if (c := self._planner.claims[i]).request.is_preemptible]
        return search


def decided(planner: Planner, now: float) -> Decided:
    plan = planner.decide(now)
    return plan.grants, plan.evictions, list(plan.waiting), plan.clearing_price


def decided_plainly(planner: Planner, now: float) -> Decided:
    """What a planner that is made anew from the state of `planner`, which stays as it is, decides the long way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planner_module, "Round", PlainRound)
        return decided(Planner(planner.snapshot(now)), now)


def _by_room(pool, kinds: tuple[str, ...]) -> Iterator:
    """As `Pool.by_room`, from the nodes themselves."""
    nodes = [node for _, node in sorted(pool.nodes.items()) if node.is_open and node.kind in kinds]
    promised = [node for node in nodes if node.kept and not any(kept.is_timed for kept in node.kept)]
    roomy = [node for node in nodes if node.free and not node.kept]
    roomy.sort(key=lambda n: (-len(n.free), kinds.index(n.kind), len(n.free) < n.size, n.id))
    return iter([*promised, *roomy, *(node for node in nodes if not node.free and not node.kept)])
