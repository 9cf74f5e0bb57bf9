"""What a policy is: an order of work, and whether that order may send running work away."""

from apps.resources.scheduling.ledger import Amounts, TeamUse
from apps.resources.scheduling.queue import Rank
from apps.resources.scheduling.reservations import Claim
from apps.resources.scheduling.types import Request


class Policy:
    """Lower ranks come first. The engine does the rest: gangs, limits, guarantees, backfill, ageing, evictions.

    A subclass declares:

    - `rank`: the order of waiting work. It may depend on whatever `Request` says (class, estimate, attained service,
      bid) and on the team, but not on the clock, so that queues stay sorted. Ageing that is linear in the wait needs no
      clock: it is an offset of `submitted_at`. Equal ranks go by id.
    - `team_key_at`: where in the rank the team's own share (`team_key`) is slid in; None if teams do not matter. Within
      a team the order is by `rank` alone. The share may grow as grants are made, and must not shrink by them.
    - `can_preempt`, `claim` and `grip`: waiting work may send running work away if its claim is strictly lower than the
      other's grip. To rule out ping-pong a policy must make sure that of two works, each with the other's place, not
      both claims are below the other's grip: by levels, or by a factor between claim and grip (hysteresis).
    """

    name = ""
    can_preempt = False
    team_key_at: int | None = None

    def rank(self, request: Request, use: TeamUse) -> Rank:
        raise NotImplementedError

    def team_key(self, use: TeamUse, capacity: Amounts) -> float:
        return 0.0

    def claim(self, request: Request, use: TeamUse, capacity: Amounts) -> float:
        """How badly `request` ranks; `use` is what its team holds without it."""
        raise NotImplementedError

    def grip(self, running: Claim, use: TeamUse, capacity: Amounts, now: float) -> float:
        """How badly running work ranks against a claim; `use` is what its team holds, this work included."""
        raise NotImplementedError


def borrowed_share(borrowed: Amounts, weight: float, capacity: Amounts) -> float:
    """The dominant share (Ghodsi et al., Dominant Resource Fairness, NSDI 2011) of what is borrowed, by weight."""
    share = 0.0
    for held, of in zip(borrowed, capacity, strict=True):
        if held and of:
            share = max(share, held / of)
    return share / weight if weight > 0 else (float("inf") if share else 0.0)
