"""First come, first served, with backfill. Running work is never sent away for rank."""

from apps.resources.scheduling.ledger import TeamUse
from apps.resources.scheduling.policies.base import Policy
from apps.resources.scheduling.queue import Rank
from apps.resources.scheduling.types import Request


class Fifo(Policy):
    name = "fifo"

    def rank(self, request: Request, use: TeamUse) -> Rank:
        return (request.submitted_at,)
