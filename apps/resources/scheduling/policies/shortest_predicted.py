"""The work with the least device time left comes first, by the estimates that are learned from the past.

Shortest remaining service first (Tiresias, Gu et al., NSDI 2019, in its variant with known durations): remaining time
times devices. Work that is preempted keeps what it attained.
"""

from apps.resources.scheduling.ledger import Amounts, TeamUse
from apps.resources.scheduling.policies.base import Policy
from apps.resources.scheduling.queue import Rank
from apps.resources.scheduling.reservations import Claim
from apps.resources.scheduling.types import Request

# Work of which nothing is known is taken to run this long: a working morning.
PRIOR_SECONDS = 4 * 3600.0
# Running work is sent away only for work with less than this part of its remaining service.
HYSTERESIS = 0.5


class ShortestPredicted(Policy):
    name = "shortest_predicted"
    can_preempt = True

    def rank(self, request: Request, use: TeamUse) -> Rank:
        return (remaining_service(request, request.attained_seconds), request.submitted_at)

    def claim(self, request: Request, use: TeamUse, capacity: Amounts) -> float:
        return remaining_service(request, request.attained_seconds)

    def grip(self, running: Claim, use: TeamUse, capacity: Amounts, now: float) -> float:
        return remaining_service(running.request, running.attained_seconds(now)) * HYSTERESIS


def remaining_service(request: Request, attained_seconds: float) -> float:
    """Device-seconds that the work still needs. Work that outran its median is taken to be half done."""
    median = request.estimate.median_seconds if request.estimate is not None else PRIOR_SECONDS
    left = median - attained_seconds if attained_seconds < median else attained_seconds
    return left * max(request.demand.devices, 1)
