"""Sealed bids in credits: the set of bids that is worth most wins what is for sale, and pays what it costs the others.

The auction itself stands in `apps.resources.scheduling.auction`. Each kind of device is sold by itself, whenever a plan
is made, over what is free then. Not for sale is what work inside a guarantee or starving work can take. Who lost may
still start, at no price, where the winners leave room, and running work goes only for a clearly higher bid.
"""

from apps.resources.scheduling.auction import Bid, clear
from apps.resources.scheduling.ledger import Amounts, TeamUse
from apps.resources.scheduling.policies.base import Market, Policy, Sale
from apps.resources.scheduling.queue import Rank
from apps.resources.scheduling.reservations import Claim
from apps.resources.scheduling.types import PolicySettings, Request

# Running work is sent away only for a bid this many times its own.
HYSTERESIS = 1.1


class Auction(Policy):
    name = "auction"
    can_preempt = True
    has_market = True

    def __init__(self, settings: PolicySettings) -> None:
        super().__init__(settings)
        self._winners: frozenset[int] = frozenset()

    def rank(self, request: Request, use: TeamUse) -> Rank:
        is_for_sale = request.demand.devices > 0
        return (float(is_for_sale and request.id not in self._winners), -request.bid, request.submitted_at)

    def claim(self, request: Request, use: TeamUse, capacity: Amounts) -> float:
        return -request.bid

    def grip(self, running: Claim, use: TeamUse, capacity: Amounts, now: float) -> float:
        return -HYSTERESIS * running.request.bid

    def sell(self, market: Market) -> Sale:
        prices: dict[int, float] = {}
        thresholds: dict[int, float] = {}
        clearing_prices = []
        values = _affordable(market)
        for kind, requests in _by_kind(market).items():
            bids = [Bid(r.id, r.team_id, r.demand.devices, values[r.id]) for r in requests]
            outcome = clear(bids, market.for_sale[kind])
            devices = {request.id: request.demand.devices for request in requests}
            prices.update((id_, paid / devices[id_]) for id_, paid in outcome.payments.items())
            thresholds.update((id_, value / devices[id_]) for id_, value in outcome.thresholds.items())
            if outcome.clearing_price is not None:
                clearing_prices.append(outcome.clearing_price)
        self._winners = frozenset(prices)
        return Sale(prices, thresholds, max(clearing_prices, default=None))


def _affordable(market: Market) -> dict[int, float]:
    """Credits per hour for each gang: what is bid, the highest first, as far as the team's credits go for one hour."""
    left: dict[int, float] = {}
    values = {}
    for request in sorted(market.bidders, key=lambda request: (-request.bid, request.submitted_at, request.id)):
        credits = left.setdefault(request.team_id, max(0.0, market.use_of(request.team_id).team.credits))
        values[request.id] = min(max(0.0, request.bid) * request.demand.devices, credits)
        left[request.team_id] = credits - values[request.id]
    return values


def _by_kind(market: Market) -> dict[str, list[Request]]:
    """Who bids for which kind. Work that takes any kind bids where most is for sale."""
    kinds: dict[str, list[Request]] = {}
    widest = max(market.for_sale, key=lambda kind: (market.for_sale[kind], kind), default=None)
    for request in market.bidders:
        kind = request.demand.device_kind or widest
        if kind in market.for_sale:
            kinds.setdefault(kind, []).append(request)
    return kinds
