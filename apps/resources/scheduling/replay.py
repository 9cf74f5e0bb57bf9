"""A pool in fast motion: jobs arrive, the planner decides, what is granted runs for as long as the trace says.

The planner is the one that runs the live pool. It never sees a duration before the job has ended: estimates come from a
model that learns as jobs end, unless the caller gives others.
"""

import math
from bisect import insort
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush

from apps.resources.scheduling.planner import Planner
from apps.resources.scheduling.policies import Policy
from apps.resources.scheduling.prediction import DurationModel, Features, nearest
from apps.resources.scheduling.types import (
    Demand,
    Estimate,
    NodeState,
    Placement,
    Plan,
    PolicySettings,
    Request,
    Running,
    Snapshot,
    Team,
)

# Running work's estimate is made anew every so often, where a sibling has ended or it was outlasted by this factor.
OUTLASTED = 1.2
REFRESH_SECONDS = 1800.0


@dataclass(frozen=True, slots=True)
class Job:
    """Work to replay. `duration_seconds` is what it runs in all, without what preemptions cost; known to nobody before
    it ends. `limit_seconds` is its person's own estimate, 0 without one."""

    id: int
    submitted_at: float
    duration_seconds: float
    devices: int
    team_id: int = 0
    user_id: int = 0
    kind: str = ""
    limit_seconds: float = 0.0
    demand: Demand | None = None

    def request(self, estimate: Estimate | None) -> Request:
        demand = self.demand or Demand(devices=self.devices, max_nodes=None)
        return Request(self.id, self.team_id, demand, self.submitted_at, self.user_id, estimate=estimate)

    def features(self) -> Features:
        return Features(
            self.submitted_at,
            self.devices,
            team=str(self.team_id),
            user=str(self.user_id),
            kind=self.kind,
            limit_seconds=self.limit_seconds,
        )


@dataclass(frozen=True, slots=True)
class Execution:
    """One stay on devices."""

    job_id: int
    placements: tuple[Placement, ...]
    started_at: float
    ended_at: float


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a job. `wait_seconds` is all the time in which it held nothing."""

    job: Job
    started_at: float
    ended_at: float
    preemptions: int
    busy_seconds: float

    @property
    def turnaround_seconds(self) -> float:
        return self.ended_at - self.job.submitted_at

    @property
    def wait_seconds(self) -> float:
        return max(0.0, self.turnaround_seconds - self.busy_seconds)


@dataclass(frozen=True, slots=True)
class TeamSummary:
    jobs: int
    device_seconds: float
    mean_turnaround_seconds: float
    mean_wait_seconds: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """`results` in the order of the jobs; jobs that fit nowhere or were not reached by the horizon are missing.

    `utilisation` is device time held over device time there was, from the first submission to the last end.
    """

    results: tuple[Result, ...]
    executions: tuple[Execution, ...]
    utilisation: float
    decisions: int
    teams: Mapping[int, TeamSummary] = field(default_factory=dict)


Predictor = Callable[[Job, float], Estimate | None]
Observer = Callable[[float, Planner, Plan], None]
Foreseer = Callable[[float, Planner], None]


@dataclass(slots=True)
class _State:
    """A job on its way. `attained` is useful work; `overhead` what the next execution owes for the last preemption."""

    job: Job
    features: Features
    attained: float = 0.0
    overhead: float = 0.0
    busy: float = 0.0
    preemptions: int = 0
    first_started_at: float | None = None
    started_at: float | None = None
    placements: tuple[Placement, ...] = ()
    execution: int = 0
    estimate: Estimate | None = None
    known: tuple = ()

    def attained_at(self, now: float) -> float:
        if self.started_at is None:
            return self.attained
        return self.attained + max(0.0, now - self.started_at - self.overhead)

    def left(self) -> float:
        return self.job.duration_seconds - self.attained + self.overhead


class Replay:
    """One run over one planner. `before` is called ahead of every decision, `observe` after it, before its plan is
    applied; neither may change the planner."""

    def __init__(
        self,
        snapshot: Snapshot,
        jobs: Sequence[Job],
        *,
        policy: Policy | None = None,
        model: DurationModel | None = None,
        predict: Predictor | None = None,
        before: Foreseer | None = None,
        observe: Observer | None = None,
    ) -> None:
        self._planner = Planner(snapshot, policy)
        self._cost = snapshot.settings.checkpoint_cost_seconds
        self._model = model if model is not None else DurationModel()
        self._predict = predict
        self._before = before
        self._observe = observe
        self._states = {job.id: _State(job, job.features()) for job in jobs}
        self._active: dict[int, _State] = {}
        self._groups: dict[tuple, list[tuple[float, int]]] = defaultdict(list)  # unfinished siblings: when, which job
        self._events: list[tuple[float, int, int, int]] = []  # time, 0 end or 1 arrival, job, execution
        self._executions: list[Execution] = []
        self._results: dict[int, Result] = {}
        self.decisions = 0
        self._has_news: set[str] = set()  # persons some work of whom has ended since the last refresh
        self._refreshed_at = -math.inf
        self._decided_at = -math.inf
        known = {running.request.id: running for running in snapshot.running}
        pending = {request.id: request for request in snapshot.requests}
        for job in jobs:
            self._enter(job, known.get(job.id), pending.get(job.id))

    def _enter(self, job: Job, running: Running | None, pending: Request | None) -> None:
        state = self._states[job.id]
        if running is not None:
            state.attained, state.estimate = running.request.attained_seconds, running.request.estimate
            self._admit(state)
            self._start(state, running.placements, running.started_at)
        elif pending is not None:
            state.attained, state.estimate = pending.attained_seconds, pending.estimate
            self._admit(state)
        else:
            heappush(self._events, (job.submitted_at, 1, job.id, 0))

    def _admit(self, state: _State) -> None:
        self._active[state.job.id] = state
        insort(self._groups[state.features.group()], (state.job.submitted_at, state.job.id))

    def run(
        self,
        now: float,
        until: float = math.inf,
        *,
        awaited: Collection[int] | None = None,
        most_decisions: int | None = None,
    ) -> None:
        """Go on to the last end; to `until`; until all `awaited` have started; or for so many decisions."""
        for job_id in [claim.request.id for claim in self._planner.claims.values() if claim.leaving_for is not None]:
            self._stop(self._states[job_id], now)
        self._decide(now)
        while self._events or self._planner.tickets:
            at = self._next_at()
            if at > until or at == math.inf:
                return
            if most_decisions is not None and self.decisions >= most_decisions:
                return
            if awaited is not None and all(self._states[job_id].first_started_at is not None for job_id in awaited):
                return
            while self._events and self._events[0][0] <= at:
                _, is_arrival, job_id, execution = heappop(self._events)
                if is_arrival:
                    self._arrive(self._states[job_id])
                elif self._states[job_id].execution == execution:
                    self._end(self._states[job_id], at)
            self._decide(at)

    def first_starts(self) -> dict[int, float]:
        """When each job that was started got its first devices in this run."""
        started = {job_id: state.first_started_at for job_id, state in self._states.items()}
        return {job_id: at for job_id, at in started.items() if at is not None}

    def _next_at(self) -> float:
        """The next event, or the next beat of the policy's clock while anything waits."""
        at = self._events[0][0] if self._events else math.inf
        beat = self._planner.policy.clock_seconds
        if beat and self._planner.tickets and self._planner.claims:
            return min(at, (self._decided_at // beat + 1) * beat)
        return at

    def _decide(self, now: float) -> None:
        planner = self._planner
        if planner.policy.clock_seconds and (self._has_news or now - self._refreshed_at >= REFRESH_SECONDS):
            self._refresh(now)
        self._decided_at = now
        while True:
            if self._before is not None:
                self._before(now, planner)
            plan = planner.decide(now)
            self.decisions += 1
            if self._observe is not None:
                self._observe(now, planner, plan)
            for grant in plan.grants:
                self._start(self._states[grant.request_id], grant.placements, now)
            for eviction in plan.evictions:
                self._stop(self._states[eviction.request_id], now)
            if not plan.evictions:
                return

    def _arrive(self, state: _State) -> None:
        self._admit(state)
        state.estimate = self._estimate(state, state.job.submitted_at)
        self._planner.submit(state.job.request(state.estimate))

    def _estimate(self, state: _State, now: float) -> Estimate | None:
        if self._predict is not None:
            return self._predict(state.job, state.attained_at(now))
        state.known = self._known(state, now)
        return self._model.estimate(state.features, state.attained_at(now), self._unfinished(state, now))

    def _unfinished(self, state: _State, now: float) -> list[tuple[float, float]]:
        near = nearest(self._groups[state.features.group()], state.job.submitted_at)
        return [(at, self._states[job_id].attained_at(now)) for at, job_id in near if job_id != state.job.id]

    def _known(self, state: _State, now: float) -> tuple:
        """What an estimate was made from, coarsely: siblings that ended, and how far the others have come."""
        steps = (round(math.log2(1.0 + attained) * 2) for _, attained in self._unfinished(state, now))
        return *self._model.evidence(state.features), *steps

    def _refresh(self, now: float) -> None:
        """Bring estimates up to date where something was learned that bears on them: of waiting work at once, of
        running work, and where time alone brings news, every `REFRESH_SECONDS`."""
        tickets = self._planner.tickets
        if self._predict is not None or not tickets:
            return
        is_due = now - self._refreshed_at >= REFRESH_SECONDS
        if is_due:
            self._refreshed_at = now
            concerned = list(self._active.values())
        else:
            news = self._has_news
            concerned = [self._states[id_] for id_ in tickets if self._states[id_].features.user in news]
        for state in concerned:
            is_outlasted = state.attained_at(now) > OUTLASTED * max(state.estimate.durations[0], 1.0)
            if is_outlasted or self._known(state, now) != state.known:
                state.estimate = self._estimate(state, now)
                ticket = tickets.get(state.job.id)
                request = ticket.request if ticket else self._planner.claims[state.job.id].request
                self._planner.revise(replace(request, estimate=state.estimate))
        self._has_news.clear()

    def _start(self, state: _State, placements: tuple[Placement, ...], now: float) -> None:
        state.placements, state.started_at = placements, now
        state.execution += 1
        if state.first_started_at is None:
            state.first_started_at = now
        heappush(self._events, (now + state.left(), 0, state.job.id, state.execution))

    def _leave(self, state: _State, now: float) -> None:
        """Off the devices, for good or not."""
        self._planner.finish(state.job.id)
        self._executions.append(Execution(state.job.id, state.placements, state.started_at, now))
        ran = now - state.started_at
        state.busy += ran
        state.attained += max(0.0, ran - state.overhead)
        state.overhead = max(0.0, state.overhead - ran)
        state.started_at = None
        state.execution += 1

    def _end(self, state: _State, now: float) -> None:
        job = state.job
        self._leave(state, now)
        del self._active[job.id]
        self._groups[state.features.group()].remove((job.submitted_at, job.id))
        if self._predict is None:
            self._model.observe(state.features, job.duration_seconds)
            self._has_news.add(state.features.user)
        self._results[job.id] = Result(job, state.first_started_at, now, state.preemptions, state.busy)

    def _stop(self, state: _State, now: float) -> None:
        request = self._planner.claims[state.job.id].request
        self._leave(state, now)
        state.preemptions += 1
        state.overhead += self._cost
        request = replace(request, attained_seconds=state.attained, waiting_since=now)
        self._planner.submit(request)

    def outcome(self, capacity: int) -> Outcome:
        results = tuple(self._results[job_id] for job_id in self._states if job_id in self._results)
        begun = min((result.job.submitted_at for result in results), default=0.0)
        span = max((result.ended_at for result in results), default=0.0) - begun
        held = sum(result.busy_seconds * result.job.devices for result in results)
        return Outcome(
            results=results,
            executions=tuple(self._executions),
            utilisation=held / (span * capacity) if span and capacity else 0.0,
            decisions=self.decisions,
            teams=_by_team(results),
        )


def replay(
    jobs: Sequence[Job],
    nodes: Sequence[NodeState],
    settings: PolicySettings,
    teams: Mapping[int, Team] | None = None,
    *,
    policy: Policy | None = None,
    model: DurationModel | None = None,
    predict: Predictor | None = None,
    before: Foreseer | None = None,
    observe: Observer | None = None,
    initial: Snapshot | None = None,
    until: float = math.inf,
) -> Outcome:
    """Replay `jobs` on `nodes` under `settings`.

    Evicted work leaves at once, and holds its devices for `settings.checkpoint_cost_seconds` more when it resumes.
    `policy` stands in for the one that the settings name. `model` learns durations as jobs end (a fresh one by
    default); `predict` (job, attained seconds) gives estimates in its place. `initial` is a state to start from: the
    jobs among its running and pending work are taken from there, and its nodes, teams and time count. `before` (time,
    planner) and `observe` (time, planner, plan) look on. `until` is when to stop; jobs that have not ended by then have
    no result.
    """
    start = min((job.submitted_at for job in jobs), default=0.0)
    snapshot = initial or Snapshot(start, tuple(nodes), (), (), dict(teams or {}), settings)
    run = Replay(snapshot, jobs, policy=policy, model=model, predict=predict, before=before, observe=observe)
    run.run(snapshot.now, until)
    return run.outcome(sum(node.device_count for node in snapshot.nodes))


def _by_team(results: Sequence[Result]) -> dict[int, TeamSummary]:
    by_team: dict[int, list[Result]] = defaultdict(list)
    for result in results:
        by_team[result.job.team_id].append(result)
    return {
        team_id: TeamSummary(
            jobs=len(own),
            device_seconds=sum(result.busy_seconds * result.job.devices for result in own),
            mean_turnaround_seconds=sum(result.turnaround_seconds for result in own) / len(own),
            mean_wait_seconds=sum(result.wait_seconds for result in own) / len(own),
        )
        for team_id, own in sorted(by_team.items())
    }
