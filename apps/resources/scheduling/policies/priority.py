"""The class first; within it the team that has borrowed least for its weight, then age and past use.

After Slurm's multifactor priority (age and fair-share factors within a partition's tier). Age grows linearly with the
wait and past use is a fixed handicap, so their difference does not depend on the clock.
"""

from apps.resources.scheduling.ledger import Amounts, TeamUse
from apps.resources.scheduling.policies.base import CLASS_RANKS, Policy, borrowed_share
from apps.resources.scheduling.queue import Rank
from apps.resources.scheduling.reservations import Claim
from apps.resources.scheduling.types import Request

# One recent device-day for each unit of weight counts as this much less waiting.
SECONDS_PER_DEVICE_DAY = 3600.0


class Priority(Policy):
    name = "priority"
    can_preempt = True
    team_key_at = 1

    def rank(self, request: Request, use: TeamUse) -> Rank:
        team = use.team
        past_days = team.recent_device_seconds / 86400.0 / max(team.weight, 1e-9)
        return (CLASS_RANKS[request.priority], request.submitted_at + past_days * SECONDS_PER_DEVICE_DAY)

    def team_key(self, use: TeamUse, capacity: Amounts) -> float:
        return borrowed_share(use.held, use.guaranteed, use.team.weight, capacity)

    def claim(self, request: Request, use: TeamUse, capacity: Amounts) -> float:
        return -float(request.priority)

    def grip(self, running: Claim, use: TeamUse, capacity: Amounts, now: float) -> float:
        return -float(running.request.priority)
