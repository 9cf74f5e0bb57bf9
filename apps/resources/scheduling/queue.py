"""Pending work in order, grouped so that what cannot start is passed over at once.

A *line* is one team's requests of one demand, preemptible or not. Where the head of a line does not fit, nothing behind
it does, so that a plan looks at a few hundred lines and not at a hundred thousand requests. Within a line a *lane* is
what differs in who asks (once a person of the line was at a limit) and in how long it counts against a reservation,
rounded.
"""

import math
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable

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
    """A place in the queue.

    `id`, `person` and `seconds` (those of `expected_seconds`) say what a grant needs of the request, which lies idle in
    memory for long: reaching for it and what hangs on it takes longer than the rest of a grant.
    """

    __slots__ = ("request", "id", "person", "seconds", "rank", "lane", "line")

    def __init__(self, request: Request, person: Use, rank: Rank, lane: "Lane") -> None:
        self.request = request
        self.id = request.id
        self.person = person
        self.seconds = expected_seconds(request)
        self.rank = rank
        self.lane = lane
        self.line = lane.line


# Figures of the rank, id of the request, its Line, and the Ticket. What is compared and the line lie together, since
# reaching for them costs more than comparing them.
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

    def remove(self, ticket: Ticket) -> Entry | None:
        """Its entry, if it was the best."""
        entries, at = self.entries, self.first
        entry = entries[at]
        if entry[-1] is not ticket:
            del entries[bisect_left(entries, (*ticket.rank, ticket.id), at)]
            return None
        entries[at] = None  # let go of it at once, while it is at hand
        at += 1
        if at == len(entries) or at == _GONE_AT_ONCE:
            del entries[:at]
            at = 0
        self.first = at
        return entry

    def head(self) -> Entry | None:
        return self.entries[self.first] if self.entries else None

    def second(self) -> Entry | None:
        return self.entries[self.first + 1] if len(self.entries) > self.first + 1 else None


class Line:
    """One team's requests of one demand. Its lanes are shared by all persons until one of them is at a limit.

    `heads` are the best of all lanes that are not parked, in order.
    """

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
                ticket.lane = self.lane(ticket.request, lane.seconds)
                ticket.lane.add(entry)
        self.heads = sorted(lane.head() for lane in self.lanes.values())

    def show(self, lane: Lane, before: Entry | None) -> None:
        """The best of a lane is not the one before any more."""
        if before is not None:
            self.heads.remove(before)
        if (head := lane.head()) is not None:
            insort(self.heads, head)

    def short_head(self, longest: float) -> Entry | None:
        """The best ticket of the lanes that run no longer than `longest` seconds."""
        if self.shortest > longest:
            return None
        lanes = (lane for lane in self.lanes.values() if lane.seconds <= longest and not lane.is_parked)
        return min((entry for lane in lanes if (entry := lane.head()) is not None), default=None)


class Queue:
    """Lines under one way to rank, and one to say how long requests count against a reservation (see `Policy`)."""

    def __init__(self, rank: Callable[[Request, TeamUse], Rank], backfill_seconds: Callable[[Request], float]) -> None:
        self._rank = rank
        self._backfill_seconds = backfill_seconds
        self._lines: dict[tuple[int, int, bool], Line] = {}
        self._of_team: dict[int, list[Line]] = {}

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
        entry = rank + (request.id, line, ticket)  # noqa: RUF005 takes half the time of unpacking
        if lane.add(entry) and not lane.is_parked:
            line.show(lane, lane.second())
        return ticket

    def drop(self, ticket: Ticket) -> None:
        """Granted, withdrawn or set aside: the next of its lane moves up."""
        lane = ticket.lane
        entry = lane.remove(ticket)
        if entry is not None and not lane.is_parked:
            ticket.line.show(lane, entry)

    def park(self, ticket: Ticket) -> None:
        """The ticket's person is at a limit: pass over the lane, which then is theirs alone, until `unpark`."""
        line = ticket.line
        if not line.is_by_person:
            line.part_persons()
        lane = ticket.lane
        lane.is_parked = True
        line.heads.remove(lane.head())
        ticket.person.parked.append(lane)


def unpark(person: Use) -> None:
    """A person holds less than before, or may hold more: look at what they wait for again."""
    for lane in person.parked:
        lane.is_parked = False
        lane.line.show(lane, None)
    person.parked.clear()
