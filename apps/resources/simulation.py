"""The policy simulator: a pool's own past, replayed as it is shared now and as it might be.

The replay is that of the benchmarks (scheduling/replay.py); this module turns rows into its values, and its outcome
into figures. What is left out: light work without devices, what was cancelled while it waited, what was running before
the first day, and what could not start today. A claim that was preempted counts as two jobs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from statistics import fmean, median

from apps.accounts.models import Team as TeamRow
from apps.resources.models import Allocation, Pool
from apps.resources.scheduling import (
    Estimate,
    NodeState,
    Planner,
    PolicySettings,
    Priority,
    Request,
    Team,
    exceeds_limit,
    never_fits,
)
from apps.resources.scheduling.replay import Job, Outcome, replay
from apps.resources.snapshots import demand_of, settings_of, take_snapshot

MOST_JOBS = 5000
MOST_DAYS = 90
MOST_EXTRA_NODES = 50
CHART_POINTS = 300
S = Allocation.Status
Tell = Callable[[float], None]


@dataclass(frozen=True)
class Question:
    """What would the last `days` have been like under `policy`, with `extra_nodes` more of the largest machine?"""

    pool: str
    days: int
    policy: str
    is_preemptive: bool = True
    extra_nodes: int = 0


class TooSlow(Exception):
    """The replay took longer than it was given."""


class NothingToReplay(Exception):
    """The pool has no past in these days."""


@dataclass(frozen=True, slots=True)
class PastJob(Job):
    """A claim of the past, with all that a policy may ask about it."""

    priority: Priority = Priority.NORMAL
    is_preemptible: bool = True
    bid: float = 0.0

    def request(self, estimate: Estimate | None) -> Request:
        plain = Job.request(self, estimate)
        return replace(plain, priority=self.priority, is_preemptible=self.is_preemptible, bid=self.bid)


def simulate(question: Question, *, now: datetime, tell: Tell, clock: Callable[[], float], seconds: float) -> dict:
    """The answer as plain values. `tell` hears the part that is done; `clock` says seconds, of which it may use so
    many. Raises TooSlow, NothingToReplay.
    """
    pool = Pool.objects.get(name=question.pool)
    rows = past_claims(pool, now - timedelta(days=question.days))
    snapshot = take_snapshot(pool)
    nodes = [_emptied(node) for node in snapshot.nodes]
    teams = {pk: _timeless(team) for pk, team in snapshot.teams.items()}
    jobs = _possible([_past_job(row, now) for row in rows], nodes, teams)
    if not jobs:
        raise NothingToReplay
    wanted = replace(settings_of(pool), policy=question.policy, is_preemptive=question.is_preemptive)
    deadline = clock() + seconds
    runs = []
    for number, (machines, settings) in enumerate(
        [(nodes, settings_of(pool)), (nodes + _copies(nodes, question.extra_nodes), wanted)]
    ):
        watch = _Watch(jobs, lambda part, before=number: tell((before + part) / 2), clock, deadline)
        runs.append((replay(jobs, machines, settings, teams, observe=watch), watch))
    return _answer(question, pool, jobs, rows, runs, wanted)


def past_claims(pool: Pool, since: datetime) -> list[Allocation]:
    """What asked for devices of the pool since then and got them, the newest MOST_JOBS."""
    rows = Allocation.objects.filter(pool=pool, devices_asked__gt=0, requested_at__gte=since, granted_at__isnull=False)
    return list(rows.exclude(status=S.PENDING).order_by("-requested_at", "-id")[:MOST_JOBS])[::-1]


def _past_job(row: Allocation, now: datetime) -> PastJob:
    return PastJob(
        id=row.pk,
        submitted_at=row.requested_at.timestamp(),
        duration_seconds=max(1.0, ((row.released_at or now) - row.granted_at).total_seconds()),
        devices=row.devices_asked,
        team_id=row.team_id,
        user_id=row.user_id or 0,
        demand=demand_of(row),
        priority=Priority(row.priority),
        is_preemptible=row.is_preemptible,
        bid=row.bid,
    )


def _possible(jobs: Sequence[PastJob], nodes: Sequence[NodeState], teams: Mapping[int, Team]) -> list[PastJob]:
    """Without those that the machines or the limits of today would never let start: they would only queue."""
    fits = {demand: never_fits(demand, nodes) is None for demand in {job.demand for job in jobs}}
    return [
        job
        for job in jobs
        if fits[job.demand] and not exceeds_limit(teams.get(job.team_id, Team(job.team_id)), job.request(None))
    ]


def _emptied(node: NodeState) -> NodeState:
    return replace(
        node,
        free_devices=tuple(range(node.id * 1000, node.id * 1000 + node.device_count)),
        free_cpu_millicores=node.cpu_millicores,
        free_memory_bytes=node.memory_bytes,
        is_open=True,
    )


def _copies(nodes: Sequence[NodeState], count: int) -> list[NodeState]:
    model = max(nodes, key=lambda node: (node.device_count, node.cpu_millicores))
    first = max(node.id for node in nodes) + 1
    return [_emptied(replace(model, id=first + number, name=f"+{number + 1}")) for number in range(count)]


def _timeless(team: Team) -> Team:
    """Promises hold for the past as well; this month's account does not."""
    return replace(team, recent_device_seconds=0.0, device_seconds_left=None, is_budget_spent=False)


class _Watch:
    """Looks on: how many jobs wait over time, how far it has come, and whether there is time left."""

    def __init__(self, jobs: Sequence[Job], tell: Tell, clock: Callable[[], float], deadline: float) -> None:
        self._start = jobs[0].submitted_at
        self._span = max(1.0, jobs[-1].submitted_at - self._start)
        self._step = self._span / CHART_POINTS
        self._tell, self._clock, self._deadline = tell, clock, deadline
        self.queue: dict[int, int] = {}  # by slice of the chart: the most that waited

    def __call__(self, now: float, planner: Planner, plan: object) -> None:
        part = int((now - self._start) / self._step)
        is_new = part not in self.queue
        self.queue[part] = max(self.queue.get(part, 0), len(planner.tickets))
        if is_new:
            self._tell(min(1.0, (now - self._start) / self._span))
        if self._clock() > self._deadline:
            raise TooSlow

    def series(self) -> list[int]:
        """How many waited in each slice; one in which nothing happened is like the one before."""
        values, last = [], 0
        for part in range(CHART_POINTS):
            last = self.queue.get(part, last)
            values.append(last)
        return values


@dataclass(frozen=True)
class Figures:
    mean_wait: float
    median_wait: float
    p95_wait: float
    mean_turnaround: float
    utilisation: float
    preemptions: int


def _figures(outcome: Outcome) -> Figures:
    waits = sorted(result.wait_seconds for result in outcome.results) or [0.0]
    turnarounds = [result.turnaround_seconds for result in outcome.results] or [0.0]
    return Figures(
        mean_wait=fmean(waits),
        median_wait=median(waits),
        p95_wait=waits[min(len(waits) - 1, int(0.95 * len(waits)))],
        mean_turnaround=fmean(turnarounds),
        utilisation=outcome.utilisation,
        preemptions=sum(result.preemptions for result in outcome.results),
    )


def _answer(question: Question, pool: Pool, jobs, rows, runs, wanted: PolicySettings) -> dict:
    (before, before_watch), (after, after_watch) = runs
    start, span = jobs[0].submitted_at, jobs[-1].submitted_at - jobs[0].submitted_at
    return {
        "question": asdict(question),
        "policy_before": pool.policy,
        "policy_after": wanted.policy,
        "jobs": len(jobs),
        "is_capped": len(rows) == MOST_JOBS,
        "left_out": len(rows) - min(len(before.results), len(after.results)),
        "real_mean_wait": fmean((row.granted_at - row.requested_at).total_seconds() for row in rows),
        "before": asdict(_figures(before)),
        "after": asdict(_figures(after)),
        "teams": _teams(before, after),
        "queue": {
            "x": [start + span * part / CHART_POINTS for part in range(CHART_POINTS)],
            "before": before_watch.series(),
            "after": after_watch.series(),
        },
    }


def _teams(before: Outcome, after: Outcome) -> list[dict]:
    """Who gains and who loses, the largest gain first."""
    names: Mapping[int, str] = dict(TeamRow.objects.filter(pk__in=before.teams).values_list("pk", "name"))
    found = [
        {
            "name": names.get(pk, ""),
            "jobs": summary.jobs,
            "before": summary.mean_wait_seconds,
            "after": after.teams[pk].mean_wait_seconds,
            "change": after.teams[pk].mean_wait_seconds - summary.mean_wait_seconds,
        }
        for pk, summary in before.teams.items()
        if pk in after.teams
    ]
    return sorted(found, key=lambda row: (row["change"], row["name"]))
