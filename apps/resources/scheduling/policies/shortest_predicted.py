"""The work that gives most for its device time comes first, by durations that are learned from the past.

With preemption: the Gittins index (Gittins, Bandit processes and dynamic allocation indices, 1979; for schedulers:
Scully, Harchol-Balter and Scheller-Wolf, SOAP, SIGMETRICS 2018; on GPU clusters: Tiresias, Gu et al., NSDI 2019). It is
the best chance to end per second invested, over all lengths of the investment, given what the work attained; here it is
divided by the devices. Where a duration is known exactly this is shortest remaining service first.

Without preemption a decision cannot be taken back: the shortest expected run comes first, and the first that must wait
is promised a start, ahead of which only what is expected to end in time may go (EASY-SJBF: Tsafrir, Etsion and
Feitelson, IEEE TPDS 18, 2007).

Waiting raises the rank slowly, so that nothing waits without end: after `AGEING_SECONDS` work counts as half as long.
A person's class counts as much as a factor of `CLASS_FACTOR` in length.
"""

import math
from bisect import bisect_right

from apps.resources.scheduling.ledger import Amounts, TeamUse
from apps.resources.scheduling.policies.base import Policy
from apps.resources.scheduling.prediction import DurationModel, Features
from apps.resources.scheduling.queue import Rank, rounded
from apps.resources.scheduling.reservations import Claim
from apps.resources.scheduling.types import Estimate, PolicySettings, Request

AGEING_SECONDS = 3 * 86400.0
CLASS_FACTOR = 4.0
# Running work is sent away only for work with less than this part of its own index.
HYSTERESIS = 0.25
# The 10th and the 90th percentile of a normal distribution lie so many standard deviations from its middle.
_TENTH = 1.2816

UNKNOWN = DurationModel().estimate(Features(submitted_at=0.0)).durations


class ShortestPredicted(Policy):
    name = "shortest_predicted"
    can_preempt = True
    clock_seconds = 600.0
    takes_loosest = True

    def __init__(self, settings: PolicySettings) -> None:
        super().__init__(settings)
        # With preemption only the starving need any: a promise to one long gang would hold up many that are short.
        self.has_reservations = self.is_hopeful = not settings.is_preemptive
        self._grips: dict[int, tuple[Request, tuple[float, float], float]] = {}

    def rank(self, request: Request, use: TeamUse) -> Rank:
        return (self._length(request, request.attained_seconds), request.submitted_at)

    def backfill_seconds(self, request: Request) -> float:
        """Expected, not high: a promise counts running work at its high end, and so is late already."""
        if not self.is_hopeful or request.estimate is None:
            return super().backfill_seconds(request)
        return rounded(expected_seconds_left(durations_of(request.estimate), request.attained_seconds))

    def claim(self, request: Request, use: TeamUse, capacity: Amounts) -> float:
        return self._length(request, request.attained_seconds)

    def grip(self, running: Claim, use: TeamUse, capacity: Amounts, now: float) -> float:
        known = self._grips.get(running.request.id)
        if known is not None and known[0] is running.request and known[1] == (running.started_at, self.clock):
            return known[2]
        length = self._length(running.request, running.attained_seconds(self.clock)) * HYSTERESIS
        self._grips[running.request.id] = (running.request, (running.started_at, self.clock), length)
        return length

    def _length(self, request: Request, attained: float) -> float:
        """Seconds of work per completion, times devices where work can be interleaved, eased by waiting."""
        durations = durations_of(request.estimate)
        if self.settings.is_preemptive:
            length = seconds_per_completion(durations, attained) * max(request.demand.devices, 1)
        else:
            length = expected_seconds_left(durations, attained)
        waited = max(0.0, self.clock - request.submitted_at - attained)
        return length * CLASS_FACTOR ** (1 - request.priority) / (1.0 + waited / AGEING_SECONDS)


def seconds_per_completion(durations: tuple[float, ...], attained: float) -> float:
    """The inverse of the Gittins index of work that ends after one of `durations` (ascending, equally likely).

    A duration stands for an interval around it; of the interval in which `attained` lies, the rest counts.
    """
    passed = bisect_right(durations, attained)
    left = [duration - attained for duration in durations[passed:]]
    if not left:
        return max(attained, 1.0)  # it outran all that was thought possible
    first = (durations[passed] - attained) / (durations[passed] - durations[passed - 1]) if passed else 0.5
    best, total, chance, spent = math.inf, first + len(left) - 1.0, first, first * left[0]
    for seconds in left:
        if chance > first:
            spent += seconds
        cost = (spent + (total - chance) * seconds) / chance
        if cost < best:
            best = cost
        chance += 1.0
    return best


def expected_seconds_left(durations: tuple[float, ...], attained: float) -> float:
    left = [duration - attained for duration in durations if duration > attained]
    return sum(left) / len(left) if left else max(attained, 1.0)


def durations_of(estimate: Estimate | None) -> tuple[float, ...]:
    """Equally likely outcomes; where only three figures are known, log-normal on either side of the median."""
    if estimate is None:
        return UNKNOWN
    if estimate.durations:
        return estimate.durations
    median = max(estimate.median_seconds, 1.0)
    shorter = math.log(median / max(min(estimate.low_seconds, median), 1.0)) / _TENTH
    longer = math.log(max(estimate.high_seconds, median) / median) / _TENTH
    return tuple(median * math.exp(z * (shorter if z < 0 else longer)) for z in _DECILES)


# The middles of ten equally likely parts of a standard normal distribution.
_DECILES = (-1.645, -1.036, -0.674, -0.385, -0.126, 0.126, 0.385, 0.674, 1.036, 1.645)
