"""Pending work in order, grouped so that what cannot start is passed over at once.

A *line* is one team's requests of one demand, preemptible or not. Where the head of a line does not fit, nothing behind
it does, so that a plan looks at a few hundred lines and not at a hundred thousand requests. Within a line a *lane* is
what differs in who asks (once a person of the line was at a limit) and in how long it counts against a reservation,
rounded.
"""

import math
from bisect import insort
from collections.abc import Callable, Iterable
from heapq import heapify, heappop, heappush, heapreplace
from itertools import count

from apps.resources.scheduling.ledger import TeamUse, Use
from apps.resources.scheduling.nodes import Shape
from apps.resources.scheduling.types import Request

Rank = tuple[float, ...]

# Work without an estimate is taken to run as long as this, so that it is never let in before a reservation on a guess.
UNKNOWN_SECONDS = 7 * 86400.0
# Durations of pending work are rounded to a power of this, so that requests can share a lane.
STEP = math.sqrt(2.0)
_LOG_STEP = math.log(STEP)
# So many places at the head of a lane come free before the rest moves up.
_GONE_AT_ONCE = 64


def expected_seconds(request: Request) -> float:
    """How long the next execution of `request` will take at the high end of its estimate."""
    if request.estimate is None:
        return UNKNOWN_SECONDS
    left = request.estimate.high_seconds - request.attained_seconds
    return left if left > 0 else UNKNOWN_SECONDS  # it outran its estimate: nothing is known any more


def rounded_up(seconds: float) -> float:
    """Up to the next power of `STEP`: at most 1.42 times as long."""
    return STEP ** math.ceil(math.log(max(seconds, 1.0)) / _LOG_STEP - 1e-9)


def rounded(seconds: float) -> float:
    """To the nearest power of `STEP`: at most 1.19 times as long, or as short."""
    return STEP ** round(math.log(max(seconds, 1.0)) / _LOG_STEP)


class Ticket:
    """A place in the queue. A ticket that is not live was granted, withdrawn, or is set aside.

    `id`, `person` and `seconds` (those of `expected_seconds`) say what a grant needs of the request, which lies idle in
    memory for long: reaching for it and what hangs on it takes longer than the rest of a grant.
    """

    __slots__ = ("request", "id", "person", "seconds", "rank", "lane", "line", "is_live")

    def __init__(self, request: Request, person: Use, rank: Rank, lane: "Lane") -> None:
        self.request = request
        self.id = request.id
        self.person = person
        self.seconds = expected_seconds(request)
        self.rank = rank
        self.lane = lane
        self.line = lane.line
        self.is_live = True


# Figures of the rank, id of the request, a number that keeps tickets from being compared, and the Ticket. All that is
# compared lies together, since reaching for it costs more than comparing it.
Entry = tuple


class Lane:
    """Tickets in order, the best at `first`: those before it are gone."""

    __slots__ = ("line", "user_id", "seconds", "entries", "first", "is_parked")

    def __init__(self, line: "Line", user_id: int | None, seconds: float) -> None:
        self.line = line
        self.user_id = user_id
        self.seconds = seconds
        self.entries: list[Entry] = []
        self.first = 0
        self.is_parked = False

    def add(self, entry: Entry) -> bool:
        """Whether it is the best now."""
        entries = self.entries
        if not entries or entry > entries[-1]:  # most who come rank behind those who came before
            entries.append(entry)
            return len(entries) == 1
        insort(entries, entry, self.first)
        return entries[self.first] is entry

    def head(self) -> Entry | None:
        entries, at = self.entries, self.first
        while at < len(entries):
            entry = entries[at]
            if entry[-1].is_live:
                self.first = at
                return entry
            entries[at] = None  # let go of it at once, while it is at hand
            at += 1
            if at == _GONE_AT_ONCE:
                del entries[:at]
                at = 0
        entries.clear()
        self.first = 0
        return None


class Line:
    """One team's requests of one demand. Its lanes are shared by all persons until one of them is at a limit."""

    __slots__ = ("queue", "use", "shape", "is_preemptible", "is_by_person", "lanes", "heads", "shortest")

    def __init__(self, queue: "Queue", use: TeamUse, shape: Shape, is_preemptible: bool) -> None:
        self.queue = queue
        self.use = use
        self.shape = shape
        self.is_preemptible = is_preemptible
        self.is_by_person = False
        self.lanes: dict[tuple[int | None, float], Lane] = {}
        self.heads: list[Entry] = []
        self.shortest = math.inf  # no lane is shorter than this

    def lane(self, request: Request, seconds: float) -> Lane:
        user_id = request.user_id if self.is_by_person else None
        key = (user_id, seconds, int(request.priority))  # the hash of an enum is slow
        lane = self.lanes.get(key)
        if lane is None:
            lane = self.lanes[key] = Lane(self, user_id, seconds)
            self.shortest = min(self.shortest, seconds)
        return lane

    def part_persons(self) -> None:
        """Give each person lanes of their own."""
        shared = self.lanes.values()
        self.lanes, self.is_by_person = {}, True
        for lane in shared:
            for entry in lane.entries[lane.first :]:
                ticket = entry[-1]
                if ticket.is_live:
                    ticket.lane = self.lane(ticket.request, lane.seconds)
                    ticket.lane.add(entry)
        self.heads = [entry for lane in self.lanes.values() if (entry := lane.head()) is not None]
        heapify(self.heads)

    def head(self) -> Entry | None:
        """The best ticket of all lanes that are not parked."""
        heads = self.heads
        while heads:
            ticket = heads[0][-1]
            if ticket.is_live and not ticket.lane.is_parked:
                return heads[0]
            heappop(heads)
        return None

    def short_head(self, longest: float) -> Entry | None:
        """The best ticket of the lanes that run no longer than `longest` seconds."""
        if self.shortest > longest:
            return None
        lanes = (lane for lane in self.lanes.values() if lane.seconds <= longest and not lane.is_parked)
        return min((entry for lane in lanes if (entry := lane.head()) is not None), default=None)


class Queue:
    """Lines under one way to rank, and one to say how long requests count against a reservation (see `Policy`).

    Every ticket that is live stands behind its lane's head or in its line's heads.
    """

    def __init__(self, rank: Callable[[Request, TeamUse], Rank], backfill_seconds: Callable[[Request], float]) -> None:
        self._rank = rank
        self._backfill_seconds = backfill_seconds
        self._lines: dict[tuple[int, int, bool], Line] = {}
        self._of_team: dict[int, list[Line]] = {}
        self._numbers = count()

    def teams(self) -> Iterable[list[Line]]:
        """Each team's lines."""
        return self._of_team.values()

    def add(self, request: Request, use: TeamUse, shape: Shape) -> Ticket:
        key = (request.team_id, shape.number, request.is_preemptible)
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = Line(self, use, shape, request.is_preemptible)
            self._of_team.setdefault(request.team_id, []).append(line)
        lane = line.lane(request, self._backfill_seconds(request))
        rank = self._rank(request, use)
        ticket = Ticket(request, use.user(request.user_id), rank, lane)
        entry = (*rank, request.id, next(self._numbers), ticket)
        if lane.add(entry) and not lane.is_parked:
            heappush(line.heads, entry)
        return ticket

    def drop(self, ticket: Ticket) -> None:
        """Granted, withdrawn or set aside: the next of its lane moves up."""
        ticket.is_live = False
        lane = ticket.lane
        entry = lane.head()
        if entry is None or lane.is_parked:
            return
        heads = lane.line.heads
        if heads and heads[0][-1] is ticket:
            heapreplace(heads, entry)
        else:
            heappush(heads, entry)

    def park(self, ticket: Ticket) -> None:
        """The ticket's person is at a limit: pass over the lane, which then is theirs alone, until `unpark`."""
        line = ticket.line
        if not line.is_by_person:
            line.part_persons()
        lane = ticket.lane
        lane.is_parked = True
        ticket.person.parked.append(lane)


def unpark(person: Use) -> None:
    """A person holds less than before, or may hold more: look at what they wait for again."""
    for lane in person.parked:
        lane.is_parked = False
        if (entry := lane.head()) is not None:
            heappush(lane.line.heads, entry)
    person.parked.clear()
