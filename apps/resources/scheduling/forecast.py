"""When waiting work will start: a range, from many replays of what may happen.

Each sample draws how long everything will run, given what it attained, and what else will arrive, and lets the planner
itself play it out. As a prediction of waits by simulating the scheduler: Smith, Taylor and Foster, Using run-time
predictions to estimate queue wait times, IPPS 1999. A simulation does not know what it leaves out, so its ranges are
widened until they have held often enough (adaptive conformal inference: Gibbs and Candes, NeurIPS 2021).

The work is bounded by counts, not by a clock, so that equal snapshots and seeds give equal forecasts.
"""

import math
import random
from bisect import bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from apps.resources.scheduling.plan import plan
from apps.resources.scheduling.planner import Planner
from apps.resources.scheduling.policies.shortest_predicted import durations_of, expected_seconds_left
from apps.resources.scheduling.replay import Job, Replay
from apps.resources.scheduling.types import Request, Running, Snapshot

SAMPLES = 25
HORIZON_SECONDS = 14 * 86400.0
# Arrivals go on as in the last day.
ARRIVALS_SECONDS = 86400.0
# All samples together make so many decisions at most, and so many arrivals each; at least `FEWEST` samples are made.
MOST_DECISIONS = 2500
MOST_ARRIVALS = 200
FEWEST = 3
# With more that waits than this, starts are read off the work that comes before, without a replay.
LONGEST_QUEUE = 300
# What a queue's length alone tells: the start lies within this factor of the guess.
ROUGH_FACTOR = 3.0

# Widening works on log(wait + GRACE_SECONDS). A miss moves a side out by `STEP`, all else in: misses become that rare.
GRACE_SECONDS = 60.0
# Misses are aimed at one in twenty so as to stay below one in ten: of what starts late is learned late, and others miss
# meanwhile.
MISSES_PER_SIDE = 0.05
STEP = 0.3
NARROWEST, AT_FIRST = 0.1, math.log(3.0)


@dataclass(frozen=True, slots=True)
class StartRange:
    """Times of the snapshot's clock; 8 starts of 10 are to fall between `low_at` and `high_at`."""

    low_at: float
    median_at: float
    high_at: float


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What else is handed in, at random times: so much a second, like these requests."""

    per_second: float
    like: Sequence[Request]


@dataclass(frozen=True, slots=True)
class Calibration:
    """By how much ranges are widened below and above, in logarithms; `learn` from every start that comes true.

    What starts at once in every replay keeps its point: it would only make the ranges of the others look good.
    """

    below: float = AT_FIRST
    above: float = AT_FIRST

    def widen(self, raw: StartRange, now: float) -> StartRange:
        if raw.high_at <= now:
            return raw
        low = max(0.0, _stretch(raw.low_at - now, -self.below))
        return StartRange(now + low, raw.median_at, now + _stretch(raw.high_at - now, self.above))

    def learn(self, given: StartRange, started_at: float) -> "Calibration":
        """`given` is the range after widening."""
        if given.low_at == given.high_at:
            return self
        below = self.below + STEP * ((started_at < given.low_at) - MISSES_PER_SIDE)
        above = self.above + STEP * ((started_at > given.high_at) - MISSES_PER_SIDE)
        return Calibration(max(NARROWEST, below), max(NARROWEST, above))


def forecast(
    snapshot: Snapshot,
    *,
    samples: int = SAMPLES,
    seed: int = 0,
    horizon_seconds: float = HORIZON_SECONDS,
    arrivals: Arrivals | None = None,
    calibration: Calibration | None = None,
    only: Collection[int] | None = None,
) -> dict[int, StartRange]:
    """By id, when each pending request of `snapshot` (or `only` these) will start.

    Left out is what never fits, and what nearly always starts beyond the horizon: of that nothing can be told. Else
    such a start counts as one at the horizon.
    """
    calibration = calibration or Calibration()
    wanted = {request.id for request in snapshot.requests if only is None or request.id in only}
    if not wanted:
        return {}
    if len(snapshot.requests) > LONGEST_QUEUE:
        raw = _by_work_ahead(snapshot, wanted)
    else:
        raw = _by_replays(snapshot, wanted, samples, random.Random(seed), horizon_seconds, arrivals)
    return {request_id: calibration.widen(start, snapshot.now) for request_id, start in raw.items()}


def forecast_one(snapshot: Snapshot, request: Request, **options) -> StartRange | None:
    """When `request` would start if it were handed in now (or changed into this); None if it never fits."""
    others = tuple(other for other in snapshot.requests if other.id != request.id)
    changed = replace(snapshot, requests=(*others, request))
    return forecast(changed, only={request.id}, **options).get(request.id)


def _by_replays(
    snapshot: Snapshot, wanted: set[int], samples: int, rng: random.Random, horizon: float, arrivals: Arrivals | None
) -> dict[int, StartRange]:
    ends_at = snapshot.now + horizon
    starts: dict[int, list[float]] = {request_id: [] for request_id in wanted}
    decisions = 0
    for sample in range(samples):
        if sample >= FEWEST and decisions >= MOST_DECISIONS:
            break
        run = _sampled_run(snapshot, rng, horizon, arrivals)
        run.run(snapshot.now, ends_at, awaited=wanted, most_decisions=MOST_DECISIONS // FEWEST)
        decisions += run.decisions
        started = run.first_starts()
        for request_id in wanted:
            starts[request_id].append(started.get(request_id, ends_at))
    never = {waiting.request_id for waiting in plan(snapshot).waiting if waiting.reason.code in _NEVER}
    ranges = {request_id: _range(found) for request_id, found in starts.items() if request_id not in never}
    return {request_id: found for request_id, found in ranges.items() if found.low_at < ends_at}


_NEVER = frozenset(("no_node_online", "kind_missing", "too_large_for_any_node", "too_large_for_pool"))


def _sampled_run(snapshot: Snapshot, rng: random.Random, horizon: float, arrivals: Arrivals | None) -> Replay:
    known = [*(running.request for running in snapshot.running), *snapshot.requests]
    attained = {running.request.id: _attained(running, snapshot.now) for running in snapshot.running}
    jobs = [_job(request, attained.get(request.id, request.attained_seconds), rng) for request in known]
    estimates = {request.id: request.estimate for request in known}
    if arrivals is not None and arrivals.like:
        at, next_id = snapshot.now, max(estimates, default=0) + 1
        for id_ in range(next_id, next_id + MOST_ARRIVALS):
            at += rng.expovariate(arrivals.per_second) if arrivals.per_second > 0 else math.inf
            if at > snapshot.now + horizon:
                break
            like = replace(rng.choice(arrivals.like), id=id_, submitted_at=at, attained_seconds=0.0)
            estimates[id_] = like.estimate
            jobs.append(_job(like, 0.0, rng))
    return Replay(snapshot, jobs, predict=lambda job, attained: estimates[job.id])


def _attained(running: Running, now: float) -> float:
    return running.request.attained_seconds + max(0.0, now - running.started_at)


def _job(request: Request, attained: float, rng: random.Random) -> Job:
    beyond = [duration for duration in durations_of(request.estimate) if duration > attained]
    duration = rng.choice(beyond) if beyond else attained + rng.expovariate(1.0 / max(attained, 60.0))
    return Job(
        id=request.id,
        submitted_at=request.submitted_at,
        duration_seconds=max(duration, 1.0),
        devices=request.demand.devices,
        team_id=request.team_id,
        user_id=request.user_id,
        demand=request.demand,
    )


def _range(starts: list[float]) -> StartRange:
    ordered = sorted(starts)
    last = len(ordered) - 1
    return StartRange(ordered[math.floor(0.1 * last)], ordered[round(0.5 * last)], ordered[math.ceil(0.9 * last)])


def _by_work_ahead(snapshot: Snapshot, wanted: set[int]) -> dict[int, StartRange]:
    """The device time of all that comes before, over the devices there are."""
    now = snapshot.now
    devices = max(1, sum(node.device_count for node in snapshot.nodes if node.is_open))
    running = _RunningWork(snapshot)
    requests = {request.id: request for request in snapshot.requests}
    made = plan(snapshot)
    ranges = {grant.request_id: StartRange(now, now, now) for grant in made.grants if grant.request_id in wanted}
    ahead = 0.0
    for waiting in made.waiting:
        request = requests[waiting.request_id]
        if waiting.request_id in wanted and waiting.reason.code not in _NEVER:
            wait = (ahead + running.before(request)) / devices
            ranges[waiting.request_id] = StartRange(now + wait / ROUGH_FACTOR, now + wait, now + wait * ROUGH_FACTOR)
        ahead += _seconds_left(request, request.attained_seconds) * request.demand.devices
    return ranges


class _RunningWork:
    """The device time that running work still takes, from what is the hardest to send away to what is the easiest."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._planner = planner = Planner(snapshot)
        policy, ledger, now = planner.policy, planner.ledger, snapshot.now
        self._is_preemptive = snapshot.settings.is_preemptive and policy.can_preempt
        work = []
        for running in snapshot.running:
            request = running.request
            seconds = _seconds_left(request, _attained(running, now)) * request.demand.devices
            grip = 0.0
            if self._is_preemptive and request.is_preemptible:
                claim = planner.claims[request.id]
                grip = policy.grip(claim, ledger.of(request.team_id), ledger.capacity, now)
            work.append((grip, seconds))
        work.sort()
        self._grips = [grip for grip, _ in work]
        self._sums = [0.0, *accumulate(seconds for _, seconds in work)]

    def before(self, request: Request) -> float:
        """Of all that `request` may not send away."""
        if not self._is_preemptive:
            return self._sums[-1]
        ledger = self._planner.ledger
        bar = self._planner.policy.claim(request, ledger.of(request.team_id), ledger.capacity)
        return self._sums[bisect_right(self._grips, bar)]


def _seconds_left(request: Request, attained: float) -> float:
    return expected_seconds_left(durations_of(request.estimate), attained)


def _stretch(wait: float, by: float) -> float:
    return math.exp(math.log(max(wait, 0.0) + GRACE_SECONDS) + by) - GRACE_SECONDS
