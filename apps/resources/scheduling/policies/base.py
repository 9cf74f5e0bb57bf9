"""What a policy is: an order of work, and whether that order may send running work away."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from apps.resources.scheduling.ledger import Amounts, TeamUse
from apps.resources.scheduling.queue import Rank, expected_seconds, rounded_up
from apps.resources.scheduling.reservations import Claim
from apps.resources.scheduling.types import PolicySettings, Priority, Request

# By a person's class, from 0: the higher, the sooner. Shared by all ranks, so that equal classes are seen to be equal
# at once.
CLASS_RANKS = tuple(-float(priority) for priority in sorted(Priority))


@dataclass(frozen=True, slots=True)
class Market:
    """What can be sold in one plan: who may start and asks for devices, and how many are for sale, by kind."""

    bidders: Sequence[Request]
    for_sale: Mapping[str, int]
    use_of: Callable[[int], TeamUse]


@dataclass(frozen=True, slots=True)
class Sale:
    """Credits per device-hour: what winners pay, above what losers would have won, and the clearing price."""

    prices: Mapping[int, float]
    thresholds: Mapping[int, float]
    clearing_price: float | None


class Policy:
    """Lower ranks come first. The engine does the rest: gangs, limits, guarantees, backfill, ageing, evictions.

    A subclass declares:

    - `rank`: the order of waiting work. It may depend on whatever `Request` says (class, estimate, attained service,
      bid) and on the team, but not on the time, so that queues stay sorted. Ageing that is linear in the wait needs no
      clock: it is an offset of `submitted_at`. Equal ranks go by id.
    - `clock_seconds`: for ranks that do depend on the time. `clock` is then the time, rounded down to a multiple of
      this; when it moves on, the whole queue is sorted anew.
    - `team_key_at`: where in the rank the team's own share (`team_key`) is slid in; None if teams do not matter. Within
      a team the order is by `rank` alone. The share may grow as grants are made, and must not shrink by them.
    - `can_preempt`, `claim` and `grip`: waiting work may send running work away if its claim is strictly lower than the
      other's grip. To rule out ping-pong a policy must make sure that of two works, each with the other's place, not
      both claims are below the other's grip: by levels, or by a factor between claim and grip (hysteresis).
    - `has_reservations`: whether the first that must wait is promised a start that nobody may delay (EASY).
    - `backfill_seconds`: how long waiting work counts when it asks to start ahead of such a promise; few values. If
      that may be less than the high end of its estimate, the policy `is_hopeful`: its promises also leave free nodes to
      others where as many come free in time. They may be broken again and again, so that nothing at all starts ahead of
      those to the starving.
    - `takes_loosest`: the cheapest to send away is what has the highest grips, and not what holds the fewest devices.
      Such work cannot send others away in its turn. Grips must be above 0.
    - `has_market`, `sell`: a market is held at the start of each plan; ranks are asked for anew after it.
    """

    name = ""
    can_preempt = False
    has_market = False
    team_key_at: int | None = None
    clock_seconds: float | None = None
    has_reservations = True
    is_hopeful = False
    takes_loosest = False

    def __init__(self, settings: PolicySettings) -> None:
        self.settings = settings
        self.clock = 0.0

    def rank(self, request: Request, use: TeamUse) -> Rank:
        raise NotImplementedError

    def backfill_seconds(self, request: Request) -> float:
        """The high end of the estimate, so that the promise is kept at least 9 times of 10."""
        return rounded_up(expected_seconds(request))

    def team_key(self, use: TeamUse, capacity: Amounts) -> float:
        return 0.0

    def known_team_key(self, use: TeamUse, capacity: Amounts) -> float:
        """`team_key`, worked out anew only when what the team holds, or the pool, has changed."""
        if use.key is None:
            use.key = self.team_key(use, capacity)
        return use.key

    def claim(self, request: Request, use: TeamUse, capacity: Amounts) -> float:
        """How badly `request` ranks; `use` is what its team holds without it."""
        raise NotImplementedError

    def grip(self, running: Claim, use: TeamUse, capacity: Amounts, now: float) -> float:
        """How badly running work ranks against a claim; `use` is what its team holds, this work included."""
        raise NotImplementedError

    def sell(self, market: Market) -> Sale:
        raise NotImplementedError

    def tightest_grip(self, use: TeamUse, capacity: Amounts) -> float:
        """No work of this team has a grip above this: what needs not be asked one by one."""
        return math.inf


def borrowed_share(held: Sequence[int], guaranteed: Amounts, weight: float, capacity: Amounts) -> float:
    """The dominant share (Ghodsi et al., Dominant Resource Fairness, NSDI 2011) of what is held above the guarantee, by
    weight."""
    share = 0.0
    for has, own, of in zip(held, guaranteed, capacity):  # noqa: B905 what is held may count jobs, too
        if has > own and of and (has - own) / of > share:
            share = (has - own) / of
    return share / weight if weight > 0 else (math.inf if share else 0.0)
