"""Replays a trace through the planner: learned durations against known ones.

    python -m benchmarks.scheduling trace.csv --nodes 64 --gpus 8

Every policy makes its plans with the same planner on the same nodes. What is preempted leaves at once and holds its
devices for 60 seconds more when it goes on; nothing is preempted within half an hour of its start. The peers: FIFO,
which skips what does not fit and keeps one reservation (EASY) by learned durations; shortest job first with known
durations, not preemptive; shortest remaining service first with known durations (SRSF: remaining time times devices);
and its bound, with all devices on one node and free preemption. Only `shortest_predicted` and `fifo` know no duration
before its end.

`decisions/s` counts the plans made, over all the time that the run took: planner, learner and simulation. Last line:
the average completion time of `shortest_predicted` over that of SRSF, the same for the 99th percentile, and
decisions/s.
"""

import argparse
import math
import time
from collections.abc import Callable, Sequence

import numpy as np

from apps.resources.scheduling.ledger import Amounts, TeamUse
from apps.resources.scheduling.policies import Policy
from apps.resources.scheduling.queue import Rank
from apps.resources.scheduling.replay import Job, Outcome, Result, replay
from apps.resources.scheduling.reservations import Claim
from apps.resources.scheduling.types import Estimate, PolicySettings, Request
from benchmarks.traces import make_nodes, read_trace

SHORTEST_SECONDS = 10.0  # bounded slowdown: shorter jobs count as this long

HEADER = ("avg JCT", "p50", "p99", "avg wait", "util", "pre/job", "p99.9 wait", "slowdown", "decisions/s")


class ShortestKnown(Policy):
    """Shortest job first, by the durations that the estimates give exactly."""

    def rank(self, request: Request, use: TeamUse) -> Rank:
        return (request.estimate.median_seconds, request.submitted_at)


class LeastServiceKnown(Policy):
    """Shortest remaining service first, by the durations that the estimates give exactly."""

    can_preempt = True
    takes_loosest = True
    has_reservations = False
    hysteresis = 2 / 3

    def rank(self, request: Request, use: TeamUse) -> Rank:
        return (self._left(request, request.attained_seconds),)

    def claim(self, request: Request, use: TeamUse, capacity: Amounts) -> float:
        return self._left(request, request.attained_seconds)

    def grip(self, running: Claim, use: TeamUse, capacity: Amounts, now: float) -> float:
        return self._left(running.request, running.attained_seconds(now)) * self.hysteresis

    @staticmethod
    def _left(request: Request, attained: float) -> float:
        return max(request.estimate.median_seconds - attained, 1.0) * request.demand.devices


class LeastServiceBound(LeastServiceKnown):
    hysteresis = 1.0


def known(job: Job, attained: float) -> Estimate:
    return Estimate(job.duration_seconds, job.duration_seconds, job.duration_seconds)


def settings_for(policy: str, is_preemptive: bool, **changes: float) -> PolicySettings:
    """The pool's defaults: a preemption costs 60 s, half an hour in peace, five days of waiting at most."""
    return PolicySettings(policy, is_preemptive=is_preemptive, **changes)


def figures(outcome: Outcome, wall_seconds: float) -> dict[str, float]:
    results = outcome.results
    turnaround = np.array([result.turnaround_seconds for result in results])
    wait = np.array([result.wait_seconds for result in results])
    return {
        "avg JCT": turnaround.mean(),
        "p50": np.quantile(turnaround, 0.5),
        "p99": np.quantile(turnaround, 0.99),
        "avg wait": wait.mean(),
        "util": outcome.utilisation,
        "pre/job": sum(result.preemptions for result in results) / len(results),
        "p99.9 wait": np.quantile(wait, 0.999),
        "slowdown": np.mean([bounded_slowdown(result) for result in results]),
        "decisions/s": outcome.decisions / wall_seconds,
    }


def bounded_slowdown(result: Result) -> float:
    run = result.job.duration_seconds
    return max(1.0, (result.wait_seconds + run) / max(run, SHORTEST_SECONDS))


def runs(jobs: Sequence[Job], nodes: int, gpus: int, is_preemptive: bool) -> dict[str, Callable[[], Outcome]]:
    pool, one_node = make_nodes(nodes, gpus), make_nodes(1, nodes * gpus)
    fifo = settings_for("fifo", False, starvation_seconds=math.inf)
    oracle = settings_for("fifo", True, starvation_seconds=math.inf)
    free = settings_for("fifo", True, starvation_seconds=math.inf, checkpoint_cost_seconds=0.0, min_runtime_seconds=0.0)
    learned = settings_for("shortest_predicted", is_preemptive)
    return {
        "fifo": lambda: replay(jobs, pool, fifo),
        "sjf_known": lambda: replay(jobs, pool, fifo, policy=ShortestKnown(fifo), predict=known),
        "srsf_known": lambda: replay(jobs, pool, oracle, policy=LeastServiceKnown(oracle), predict=known),
        "bound": lambda: replay(jobs, one_node, free, policy=LeastServiceBound(free), predict=known),
        "shortest_predicted": lambda: replay(jobs, pool, learned),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trace")
    parser.add_argument("--nodes", type=int, default=64)
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--limit", type=int, default=0, help="the first so many jobs only")
    parser.add_argument("--no-preemption", action="store_true", help="shortest_predicted sends nobody away")
    parser.add_argument("--only", default="", help="comma-separated policies; the last line needs srsf_known too")
    options = parser.parse_args()
    jobs = read_trace(options.trace, options.nodes * options.gpus, options.limit)
    print(
        f"{len(jobs)} jobs on {options.nodes} nodes of {options.gpus}; seconds, waits of the 99.9th percentile in days"
    )
    print(f"{'policy':<20}" + "".join(f"{name:>12}" for name in HEADER), flush=True)
    chosen = set(filter(None, options.only.split(",")))
    found = {}
    for name, run in runs(jobs, options.nodes, options.gpus, not options.no_preemption).items():
        if not chosen or name in chosen:
            begun = time.perf_counter()
            outcome = run()
            found[name] = row = figures(outcome, time.perf_counter() - begun)
            print(f"{name:<20}" + "".join(f"{_shown(title, row[title]):>12}" for title in HEADER), flush=True)
    if {"srsf_known", "shortest_predicted"} <= set(found):
        ours, oracle = found["shortest_predicted"], found["srsf_known"]
        print(
            f"scheduling: policy=shortest_predicted jct_ratio_to_srsf_oracle={ours['avg JCT'] / oracle['avg JCT']:.3f}"
            f" p99_ratio={ours['p99'] / oracle['p99']:.3f} decisions_per_second={ours['decisions/s']:.0f}"
        )


def _shown(title: str, value: float) -> str:
    if title == "p99.9 wait":
        return f"{value / 86400.0:.2f}"
    return (
        f"{value:.3f}" if title in ("util", "pre/job") else f"{value:,.1f}" if title == "slowdown" else f"{value:,.0f}"
    )


if __name__ == "__main__":
    main()
