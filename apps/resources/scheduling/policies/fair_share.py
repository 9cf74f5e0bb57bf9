"""Dominant resource fairness: the team with the smallest weighted dominant share of what it borrowed comes first.

Progressive filling as in Ghodsi et al., Dominant Resource Fairness (NSDI 2011), section 4, with weights (4.3), over
devices, CPU and memory. Without guarantees all that a team holds is borrowed and this is DRF itself; with them it is
the over-quota share of Kueue's cohorts and NVIDIA KAI. Within a team: the class, then first come.
"""

from apps.resources.scheduling.ledger import Amounts, TeamUse, amounts_of
from apps.resources.scheduling.policies.base import CLASS_RANKS, Policy, borrowed_share
from apps.resources.scheduling.queue import Rank
from apps.resources.scheduling.reservations import Claim
from apps.resources.scheduling.types import Request


class FairShare(Policy):
    name = "fair_share"
    can_preempt = True
    team_key_at = 0

    def rank(self, request: Request, use: TeamUse) -> Rank:
        return (CLASS_RANKS[request.priority], request.submitted_at)

    def team_key(self, use: TeamUse, capacity: Amounts) -> float:
        return borrowed_share(use.held, use.guaranteed, use.team.weight, capacity)

    def claim(self, request: Request, use: TeamUse, capacity: Amounts) -> float:
        """The asker's share once it has what it asks for."""
        return _share_with(use, amounts_of(request.demand), 1, capacity)

    def grip(self, running: Claim, use: TeamUse, capacity: Amounts, now: float) -> float:
        """The holder's share once it has lost this work: an exchange never turns the order of two teams around."""
        grip = use.grips.get(running.asked)
        if grip is None:
            grip = use.grips[running.asked] = _share_with(use, running.asked, -1, capacity)
        return grip

    def tightest_grip(self, use: TeamUse, capacity: Amounts) -> float:
        return self.known_team_key(use, capacity) if use.key is None else use.key


def _share_with(use: TeamUse, more: Amounts, sign: int, capacity: Amounts) -> float:
    each = zip(use.held, use.leaving, more)  # noqa: B905 what is held counts jobs, too
    held = [has - gone + sign * of_more for has, gone, of_more in each]
    return borrowed_share(held, use.guaranteed, use.team.weight, capacity)
