"""How often the start-time range that a job is given when it is handed in covers its true start, and how wide it is.

    python -m benchmarks.forecast trace.csv --nodes 64 --gpus 8 --every 10

The trace is replayed through the planner. Every tenth job (`--every`) is given a forecast from a snapshot of that
moment, which knows no duration of unfinished work and nothing of later submissions; other arrivals are drawn from the
last day's. Ranges are widened by what became of earlier ones, as soon as their jobs have started, never before. Last
line: the share of ranges that covered the start (between both ends, a second of rounding allowed), and the median
width.
"""

import argparse
import time
from collections import deque

import numpy as np

from apps.resources.scheduling.forecast import ARRIVALS_SECONDS, Arrivals, Calibration, StartRange, forecast
from apps.resources.scheduling.planner import Planner
from apps.resources.scheduling.replay import replay
from apps.resources.scheduling.types import Plan, Request
from benchmarks.scheduling import settings_for
from benchmarks.traces import make_nodes, read_trace


class Forecaster:
    """Watches a replay: gives every so many jobs a range, and learns from those that have started."""

    def __init__(self, every: int, samples: int) -> None:
        self._every = every
        self._samples = samples
        self._recent: deque[Request] = deque()
        self._open: dict[int, StartRange] = {}
        self._met: set[int] = set()
        self.calibration = Calibration()
        self.given: list[tuple[float, float, StartRange]] = []  # handed in, started, the range
        self.seconds: list[float] = []

    def before(self, now: float, planner: Planner) -> None:
        """New requests are seen before the decision that may start them."""
        new = [ticket.request for id_, ticket in planner.tickets.items() if id_ not in self._met]
        for request in sorted(new, key=lambda request: request.id):
            self._met.add(request.id)
            self._recent.append(request)
            if request.id % self._every == 0:
                self._give(now, planner, request)

    def after(self, now: float, planner: Planner, plan: Plan) -> None:
        for grant in plan.grants:
            given = self._open.pop(grant.request_id, None)
            if given is not None:
                self.calibration = self.calibration.learn(given, now)
                self.given.append((planner.claims[grant.request_id].request.submitted_at, now, given))

    def _give(self, now: float, planner: Planner, request: Request) -> None:
        while self._recent[0].submitted_at < now - ARRIVALS_SECONDS:
            self._recent.popleft()
        arrivals = Arrivals(len(self._recent) / ARRIVALS_SECONDS, tuple(self._recent))
        begun = time.perf_counter()
        ranges = forecast(
            planner.snapshot(now),
            samples=self._samples,
            seed=request.id,
            arrivals=arrivals,
            calibration=self.calibration,
            only={request.id},
        )
        self.seconds.append(time.perf_counter() - begun)
        self._open[request.id] = ranges[request.id]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trace")
    parser.add_argument("--nodes", type=int, default=64)
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--limit", type=int, default=0, help="the first so many jobs only")
    parser.add_argument("--every", type=int, default=10, help="forecast every so many jobs")
    parser.add_argument("--samples", type=int, default=9, help="replays for each forecast at most")
    parser.add_argument("--policy", default="shortest_predicted")
    parser.add_argument("--no-preemption", action="store_true")
    options = parser.parse_args()
    jobs = read_trace(options.trace, options.nodes * options.gpus, options.limit)
    settings = settings_for(options.policy, not options.no_preemption)
    watcher = Forecaster(options.every, options.samples)
    replay(jobs, make_nodes(options.nodes, options.gpus), settings, before=watcher.before, observe=watcher.after)
    report(watcher, options.policy)


def report(watcher: Forecaster, policy: str) -> None:
    submitted, started, low, high = np.array(
        [(at, started, given.low_at, given.high_at) for at, started, given in watcher.given]
    ).T
    wait, width = started - submitted, high - low
    covered = (low - 1.0 <= started) & (started <= high + 1.0)
    print(
        f"{len(wait)} forecasts, {np.mean(watcher.seconds) * 1000:.0f} ms each (longest {max(watcher.seconds):.2f} s)"
    )
    for name, of in (("started at once", wait <= 1.0), ("had to wait", wait > 1.0)):
        if of.any():
            relative = np.median(width[of] / np.maximum(wait[of], 1.0))
            print(
                f"{name:<16}{of.sum():>7} coverage {covered[of].mean():.3f},"
                f" median width {np.median(width[of]):,.0f} s, median width over wait {relative:.2f}"
            )
    print(f"forecast: coverage={covered.mean():.3f} median_width_seconds={np.median(width):.0f} policy={policy}")


if __name__ == "__main__":
    main()
