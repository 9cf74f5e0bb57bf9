"""Pending work in order, grouped so that what cannot start is passed over at once.

A *line* is one team's requests of one demand, preemptible or not. Where the head of a line does not fit, nothing behind
it does, so that a plan looks at a few hundred lines and not at a hundred thousand requests. Within a line a *lane* is
what differs in who asks (where the team limits persons) and in how long it counts against a reservation, rounded.
"""

import math
from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from itertools import count

from apps.resources.scheduling.ledger import TeamUse
from apps.resources.scheduling.nodes import Shape
from apps.resources.scheduling.types import Request

Rank = tuple[float, ...]

# Work without an estimate is taken to run as long as this, so that it is never let in before a reservation on a guess.
UNKNOWN_SECONDS = 7 * 86400.0
# Durations of pending work are rounded to a power of this, so that requests can share a lane.
STEP = math.sqrt(2.0)
_LOG_STEP = math.log(STEP)


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
    """A place in the queue. A ticket that is not live was granted, withdrawn, or is set aside."""

    __slots__ = ("request", "rank", "lane", "line", "is_live")

    def __init__(self, request: Request, rank: Rank, lane: "Lane") -> None:
        self.request = request
        self.rank = rank
        self.lane = lane
        self.line = lane.line
        self.is_live = True


# Figures of the rank, id of the request, a number that keeps tickets from being compared, and the Ticket. All that is
# compared lies together, since reaching for it costs more than comparing it.
Entry = tuple


class Lane:
    __slots__ = ("line", "user_id", "seconds", "heap", "is_parked")

    def __init__(self, line: "Line", user_id: int, seconds: float) -> None:
        self.line = line
        self.user_id = user_id
        self.seconds = seconds
        self.heap: list[Entry] = []
        self.is_parked = False

    def head(self) -> Entry | None:
        heap = self.heap
        while heap:
            if heap[0][-1].is_live:
                return heap[0]
            heappop(heap)
        return None


class Line:
    __slots__ = ("queue", "use", "shape", "is_preemptible", "lanes", "heads", "shortest")

    def __init__(self, queue: "Queue", use: TeamUse, shape: Shape, is_preemptible: bool) -> None:
        self.queue = queue
        self.use = use
        self.shape = shape
        self.is_preemptible = is_preemptible
        self.lanes: dict[tuple[int, float], Lane] = {}
        self.heads: list[Entry] = []
        self.shortest = math.inf  # no lane is shorter than this

    def head(self) -> Entry | None:
        """The best ticket of all lanes that are not parked."""
        heads, has_parked = self.heads, self.queue.has_parked
        while heads:
            ticket = heads[0][-1]
            if ticket.is_live and not (has_parked and ticket.lane.is_parked):
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
        self._parked: dict[tuple[int, int], list[Lane]] = {}

    @property
    def has_parked(self) -> bool:
        return bool(self._parked)

    def teams(self) -> Iterable[list[Line]]:
        """Each team's lines."""
        return self._of_team.values()

    def add(self, request: Request, use: TeamUse, shape: Shape) -> Ticket:
        key = (request.team_id, shape.number, request.is_preemptible)
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = Line(self, use, shape, request.is_preemptible)
            self._of_team.setdefault(request.team_id, []).append(line)
        seconds = self._backfill_seconds(request)
        user_id = request.user_id if use.has_user_limit else 0
        lane = line.lanes.get((user_id, seconds))
        if lane is None:
            lane = line.lanes[user_id, seconds] = Lane(line, user_id, seconds)
            line.shortest = min(line.shortest, seconds)
        ticket = Ticket(request, self._rank(request, use), lane)
        entry = (*ticket.rank, request.id, next(self._numbers), ticket)
        heappush(lane.heap, entry)
        if not lane.is_parked and lane.head() is entry:
            heappush(line.heads, entry)
        return ticket

    def drop(self, ticket: Ticket) -> None:
        """Granted, withdrawn or set aside: the next of its lane moves up."""
        ticket.is_live = False
        self._offer(ticket.lane)

    def park(self, lane: Lane) -> None:
        """The lane's person is at a limit: pass over it until `unpark`."""
        lane.is_parked = True
        self._parked.setdefault((lane.line.use.team.id, lane.user_id), []).append(lane)

    def unpark(self, team_id: int, user_id: int) -> None:
        for lane in self._parked.pop((team_id, user_id), ()):
            lane.is_parked = False
            self._offer(lane)

    def _offer(self, lane: Lane) -> None:
        entry = lane.head()
        if entry is not None and not lane.is_parked:
            heappush(lane.line.heads, entry)
