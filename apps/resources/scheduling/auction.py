"""The sealed-bid auction of a pool's devices for one period: efficient, with Clarke pivot payments per team.

A bid is single-minded: a gang runs on all its devices or not at all. So the best set of winners is a 0/1 knapsack over
whole devices, solved exactly, and each team pays what its presence costs the others.

What is truthful. The agent is the team, not the bid. A team's value for an outcome is the sum over its bids that won,
whatever else it wins, so its bids together are one report to a Groves mechanism (Vickrey 1961, Clarke 1971, Groves
1973): whatever the others bid, no other set of bids gains more, be it with other values, more or fewer devices, work
left out or made up, even where the team runs other work on the devices than it bid for. Payments per bid would not do:
a team with two jobs would raise the price of one by bidding for the other, and gain by dropping or merging bids.

What is not. (1) False names: a team that bids as several teams can gain (Yokoo, Sakurai, Matsubara 2004), and teams
that collude can too (Ausubel, Milgrom 2006); teams are made by administrators, so both are left to people. (2) Credits
left over are worth something only because they buy later periods: over many periods, or at a spent budget, bidding less
to save can pay. (3) Work that could be done later as well: each period is auctioned alone. (4) Devices count here as
alike, so each kind is auctioned by itself; who cannot be placed because the gaps are on the wrong nodes won in vain.

The caller takes first what is not for sale: work inside a guarantee, and work that has waited longer than the pool's
starvation time, which starts at the reserve price 0. `clear` is given the capacity that remains.

Sources: W. Vickrey, "Counterspeculation, Auctions, and Competitive Sealed Tenders", Journal of Finance 16 (1961).
E. H. Clarke, "Multipart Pricing of Public Goods", Public Choice 11 (1971). T. Groves, "Incentives in Teams",
Econometrica 41 (1973). G. Aggarwal, J. D. Hartline, "Knapsack Auctions", SODA 2006. H. Kellerer, U. Pferschy,
D. Pisinger, "Knapsack Problems", Springer 2004.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from apps.resources.scheduling.credits import from_micro, to_micro

_LARGEST_SUM = 2**62  # micro-credits; sums stay within int64


@dataclass(frozen=True, slots=True)
class Bid:
    """An offer of `value` credits per hour for the whole gang of `devices`; `id` orders bids that are worth the same.

    Values are compared in whole micro-credits. `id` is unique over all bids of an auction.
    """

    id: int
    team_id: int
    devices: int
    value: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """Who won and at what price.

    `winners` are ids, ascending. `payments` has one entry for each: credits per hour for the whole gang, never above
    its bid. `welfare` is the sum of the winning bids, credits per hour. `clearing_price` is credits per device-hour;
    None where no bid asks for as little as there is. `thresholds` has one entry for each bid that lost though it is no
    larger than the capacity: credits per hour for the whole gang above which it would have won against the same bids.
    """

    winners: tuple[int, ...] = ()
    payments: Mapping[int, float] = field(default_factory=dict)
    clearing_price: float | None = None
    welfare: float = 0.0
    thresholds: Mapping[int, float] = field(default_factory=dict)


class _Offer(NamedTuple):
    id: int
    team_id: int
    devices: int
    micro: int
    value: float


def clear(bids: Sequence[Bid], capacity: int) -> Outcome:
    """Sell `capacity` devices to the set of bids that is worth most, each team paying what it costs the others.

    Of the sets that are worth most the one with the smallest first id wins, then the smallest second, and so on: the
    order of `bids` plays no part, and what is free goes to bids of 0 too. Raising a winning bid keeps it winning.

    A team pays (the welfare of the others without it) - (their welfare with it), which is at most the sum of its
    winning bids; `_apportion` splits that over them. If everything fits, nobody pays.

    With n bids and C = `capacity`: O(n C) time and n C bytes for the winners, between O(n C) and O(n C log n) time and
    O(C log n) memory for the payments. ValueError for a bid or capacity that makes no sense.
    """
    _check(bids, capacity)
    offers = sorted(
        _Offer(bid.id, bid.team_id, bid.devices, to_micro(bid.value), bid.value)
        for bid in bids
        if bid.devices <= capacity
    )
    if not offers:
        return Outcome()
    if sum(offer.micro for offer in offers) >= _LARGEST_SUM:
        raise ValueError("The bids add up to more credits than can be counted exactly.")
    room = min(capacity, _devices(offers))
    won = _winners(offers, room)
    return Outcome(
        winners=tuple(offer.id for offer in won),
        payments=_payments(offers, won, room),
        clearing_price=_clearing_price(offers, capacity),
        welfare=from_micro(sum(offer.micro for offer in won)),
        thresholds=_thresholds(offers, won, room),
    )


def _check(bids: Sequence[Bid], capacity: int) -> None:
    if capacity < 0:
        raise ValueError("The capacity is negative.")
    if len({bid.id for bid in bids}) < len(bids):
        raise ValueError("Two bids have the same id.")
    for bid in bids:
        if bid.devices < 1:
            raise ValueError(f"Bid {bid.id} asks for {bid.devices} devices.")
        if not (math.isfinite(bid.value) and bid.value >= 0):
            raise ValueError(f"Bid {bid.id} offers {bid.value} credits.")


def _devices(offers: Iterable[_Offer]) -> int:
    return sum(offer.devices for offer in offers)


def _winners(offers: Sequence[_Offer], room: int) -> list[_Offer]:
    """The best set for `room` devices, by dynamic programming from the last id to the first.

    `worth[c]` is the best value that the offers seen so far make of c devices, shape (room + 1,), micro-credits;
    `takes[k, c]` says that offer k is in such a set. Reading `takes` from the first id on prefers small ids.
    """
    worth = np.zeros(room + 1, np.int64)
    takes = np.zeros((len(offers), room + 1), np.bool_)
    for k in range(len(offers) - 1, -1, -1):
        devices = offers[k].devices
        with_it = worth[:-devices] + offers[k].micro
        np.greater_equal(with_it, worth[devices:], out=takes[k, devices:])
        np.maximum(with_it, worth[devices:], out=worth[devices:])
    won = []
    for k, offer in enumerate(offers):
        if takes[k, room]:
            won.append(offer)
            room -= offer.devices
    return won


def _payments(offers: Sequence[_Offer], won: Sequence[_Offer], room: int) -> dict[int, float]:
    """The payment of every winner, credits per hour for its gang."""
    winning: dict[int, list[_Offer]] = {}
    for offer in won:
        winning.setdefault(offer.team_id, []).append(offer)
    groups: dict[int, list[_Offer]] = {team_id: [] for team_id in winning}
    losers = []
    for offer in offers:
        groups.get(offer.team_id, losers).append(offer)
    tables = _without_each(list(groups.values()), _extended(np.zeros(room + 1, np.int64), losers))
    welfare = sum(offer.micro for offer in won)
    payments = {}
    for wins, table in zip(winning.values(), tables, strict=True):
        due = int(table[-1]) - (welfare - sum(offer.micro for offer in wins))
        for offer, part in zip(wins, _apportion(due, [offer.micro for offer in wins]), strict=True):
            payments[offer.id] = min(from_micro(part), offer.value)  # the bid may lie below its rounded value
    return dict(sorted(payments.items()))


def _extended(worth: np.ndarray, offers: Iterable[_Offer]) -> np.ndarray:
    """`worth` (int64, over ascending numbers of devices) once `offers` can be served too."""
    worth = worth.copy()
    for offer in offers:
        np.maximum(worth[offer.devices :], worth[: -offer.devices] + offer.micro, out=worth[offer.devices :])
    return worth


def _without_each(groups: Sequence[Sequence[_Offer]], worth: np.ndarray) -> Iterator[np.ndarray]:
    """For each group in turn: what devices are worth to `worth` and to all groups but this one, micro-credits.

    The last entry of a table is for all devices, the one at -1 - d for d fewer; d reaches to the devices of the group.

    Halves: the left groups are each left out of a table that has the whole right, and the other way round. The entries
    that are read at the end depend on none further down than the devices still to come, so the table shrinks with the
    groups: on one level of the recursion the sizes add up to about the devices that all groups ask for.
    """
    if len(groups) <= 1:
        yield from [worth] * len(groups)
        return
    left, right = groups[: len(groups) // 2], groups[len(groups) // 2 :]
    for kept, added in ((left, right), (right, left)):
        table = _extended(worth, (offer for group in added for offer in group))
        still_to_come = sum(_devices(group) for group in kept)
        yield from _without_each(kept, table[-(still_to_come + 1) :])


def _apportion(due: int, values: Sequence[int]) -> list[int]:
    """Split a team's payment over its winning bids in proportion to them: whole micro-credits that add up to `due`.

    Largest remainders first, then the earlier bid. As 0 <= due <= sum(values), no part is above its value: a part that
    is rounded up was not whole, so it lay below the whole number that the value is.
    """
    total = sum(values)
    if not total:
        return [0] * len(values)
    parts = [due * value // total for value in values]
    by_remainder = sorted(range(len(values)), key=lambda k: -(due * values[k] % total))
    for k in by_remainder[: due - sum(parts)]:
        parts[k] += 1
    return parts


def _thresholds(offers: Sequence[_Offer], won: Sequence[_Offer], room: int) -> dict[int, float]:
    """For every loser: what its devices are worth to all other bids, credits per hour."""
    winners = set(won)
    lost = [offer for offer in offers if offer not in winners]
    tables = _without_each([[offer] for offer in lost], _extended(np.zeros(room + 1, np.int64), won))
    return {
        offer.id: from_micro(int(table[-1] - table[-1 - offer.devices]))
        for offer, table in zip(lost, tables, strict=True)
    }


def _clearing_price(offers: Sequence[_Offer], capacity: int) -> float:
    """The lowest price per device-hour at which the bids strictly above it fit: 0 when everything fits.

    It is the dual price of the devices where gangs could be split (Dantzig 1957), so it says what one more device is
    worth. As gangs are whole, a small bid below it may still win what is left over, and a large one above it may lose.
    Bids that are larger than the capacity are no demand.
    """
    demand = 0
    for offer in sorted(offers, key=lambda offer: -offer.micro / offer.devices):
        demand += offer.devices
        if demand > capacity:
            return from_micro(offer.micro / offer.devices)
    return 0.0
