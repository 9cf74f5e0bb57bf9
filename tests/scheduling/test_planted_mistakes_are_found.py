"""Mistakes in the planner's short ways, planted one by one, lead to decisions that the long way does not make."""

import inspect
import sys
from textwrap import dedent

import pytest

from apps.resources.scheduling import queue as queue_module
from apps.resources.scheduling.grounds import Grounds
from apps.resources.scheduling.ledger import Ledger, TeamUse
from apps.resources.scheduling.planner import Planner
from apps.resources.scheduling.pool import Pool
from apps.resources.scheduling.preemption import Search
from apps.resources.scheduling.queue import Lane, Line, Queue
from apps.resources.scheduling.reservations import Timeline
from apps.resources.scheduling.rounds import Round
from tests.scheduling.lives import Life
from tests.scheduling.plainly import decided, decided_plainly

# What, where, the text that is right, and what stands there instead; in lives under which policy it shows.
MISTAKES = {
    "lines are passed over that nobody searched for": (
        Round._pass_over, "number in self._searched and ", "", "fair_share",
    ),
    "short work is passed over with the long": (
        Round._pass_over, "(following := line.short_head(self._longest)) is not None", "False", "fair_share",
    ),
    "grips outlive a grant": (Ledger.charge, "use.grips.clear()", "pass", "fair_share"),
    "grips outlive an eviction": (TeamUse.change_leaving, "self.grips.clear()", "pass", "fair_share"),
    "shares outlive a grant": (Ledger.charge, "use.key = None", "pass", "fair_share"),
    "shares outlive a change of the pool": (Ledger.change_capacity, "use.forget()", "pass", "fair_share"),
    "a node remembers whose work was on it before": (Pool.take, "node.loose_teams = None", "pass", "fair_share"),
    "a node forgets what may be preempted on it": (Pool.take, "node.loose_devices += devices", "pass", "priority"),
    "work that leaves is sent away again": (
        Grounds.leave, "self._ripe.pop(node.id, None)", "pass", "fair_share",
    ),
    "grips of one plan do not move with the shares": (
        Grounds.grip, "policy.team_key_at is not None", "False", "fair_share",
    ),
    "a node is taken for hopeless that just would do": (
        Search._on_one_node, "missing > node.loose_devices", "missing >= node.loose_devices", "priority",
    ),
    "a search asks for more than a node could give up": (
        Search._on_one_node, "missing <= self._most(node)", "missing < self._most(node)", "priority",
    ),
    "a gang's search does, too": (
        Search._cheapest_nodes, "len(node.free) <= self._most(node)", "len(node.free) < self._most(node)", "auction",
    ),
    "teams keep their places while they get more": (
        Round._serve, "insort(order, self._place(heads))", "order.append(self._place(heads))", "fair_share",
    ),
    "who comes late is served last": (Lane.add, "not entries or entry > entries[-1]", "True", "shortest_predicted"),
    "the shortest lane is not known": (Line.lane, "self.shortest = min(self.shortest, seconds)", "pass", "fifo"),
    "the next of a lane does not move up": (Queue.drop, "ticket.line.show(lane, entry)", "pass", "fifo"),
    "who was the best of a lane stays at hand": (Line.show, "self.heads.remove(before)", "pass", "priority"),
    "who becomes the best of a lane is not seen": (Queue.add, "line.show(lane, lane.second())", "pass", "priority"),
    "who leaves from the middle of a lane stays in it": (
        Lane.remove, "del entries[bisect_left(entries, (*ticket.rank, ticket.id), at)]", "pass", "shortest_predicted",
    ),
    "a parked lane is forgotten": (Queue.park, "ticket.person.parked.append(lane)", "pass", "fifo"),
    "some get lost as persons are parted": (
        Line.part_persons, "lane.entries[lane.first :]", "lane.entries[lane.first + 1 :]", "fifo",
    ),
    "a person stays parked when work ends": (Planner.finish, "unpark(claim.person)", "pass", "fifo"),
    "a person stays parked when the team may hold more": (Planner.change_team, "unpark(person)", "pass", "fifo"),
    "leaving work is counted as before": (Planner.leave, "self.timeline.recount(claim)", "pass", "fair_share"),
    "room stays promised to who was withdrawn": (
        Planner.withdraw, "self.promised.discard(request_id)", "pass", "fair_share",
    ),
    "room that comes free is not seen": (Timeline.discount, "self._stale.add(node)", "pass", "fifo"),
    "room that was taken is not seen": (Timeline.count, "self._stale.add(node)", "pass", "fifo"),
    "the ends of a node's work are out of order": (Timeline.count, "bisect_left(ends, at)", "len(ends)", "fifo"),
    "reserved nodes stay reserved": (Pool.keep_nothing, "self._reserved.clear()", "pass", "priority"),
    "cores that come free are not seen": (Pool.give_back, "self._roomier.add(node.id)", "pass", "fifo"),
    "locked work is counted by halves": (
        Ledger.charge, "if before > own or now > own", "if before > own and now > own", "priority",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_mistake_is_found(mistake, monkeypatch):
    function, right, wrong, policy = MISTAKES[mistake]
    plant(function, right, wrong, monkeypatch)
    assert any(differs(Life(policy, seed)) for seed in range(16))


def test_places_of_a_lane_come_free_without_losing_any(monkeypatch):
    monkeypatch.setattr(queue_module, "_GONE_AT_ONCE", 3)
    assert not differs(Life("fifo", 1))
    plant(Lane.remove, "at = 0\n", "pass\n", monkeypatch)
    assert any(differs(Life("fifo", seed)) for seed in range(10))


def differs(life: Life) -> bool:
    """Whether the planner decides otherwise than the long way, or breaks down, within its first forty plans."""
    try:
        for _ in range(40):
            life.go_on()
            if decided_plainly(life.planner, life.now) != decided(life.planner, life.now):
                return True
    except (KeyError, IndexError, ValueError, TypeError, AttributeError):
        return True
    return False


def plant(function, right: str, wrong: str, monkeypatch) -> None:
    source = dedent(inspect.getsource(function))
    assert source.count(right) == 1, "The planner has changed: plant this mistake where the line stands now."
    module = sys.modules[function.__module__]
    made: dict = {}
    exec(source.replace(right, wrong), vars(module), made)
    owner = getattr(module, function.__qualname__.split(".")[0])
    monkeypatch.setattr(owner, function.__name__, made[function.__name__])
