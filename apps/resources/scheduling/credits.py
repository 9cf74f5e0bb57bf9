"""Credits as arithmetic: what teams receive, keep, may bid, and pay. Amounts are whole micro-credits, always int.

A team's income is its share by weight of what the pool hands out each period; unlike in Karma (Vuppalapati et al.,
"Karma: Resource Allocation for Dynamic Demands", OSDI 2023), where a team earns credits by leaving its share to others,
here what it did not spend is its saving. How far it can save is bounded, so nobody can hoard and then take the pool.

Rounding. Prices are credits per device-hour; money is rounded once, to the nearest micro-credit, halves to even, on
exact fractions. That never reverses an order: who pays a price at most its bid for time at most expected is charged at
most what the bid would have cost.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

MICRO = 1_000_000  # micro-credits in a credit
_SECONDS_PER_HOUR = 3600


def to_micro(credits: float) -> int:
    """Whole micro-credits nearest to `credits`, halves to even."""
    return round(Fraction(credits) * MICRO)


def from_micro(micro: float) -> float:
    """Credits."""
    return micro / MICRO


def hand_out(total: int, weights: Mapping[int, float]) -> dict[int, int]:
    """Split a period's `total` micro-credits over teams in proportion to their weights.

    The parts add up to `total` exactly: largest remainders are rounded up, the smaller team id first among equals.
    Teams of weight 0 get nothing; if no team has a weight, nothing is handed out. O(teams log teams).
    """
    if total < 0 or not all(math.isfinite(weight) and weight >= 0 for weight in weights.values()):
        raise ValueError("The total and the weights of teams are finite and not negative.")
    shares = {team_id: Fraction(weight) for team_id, weight in sorted(weights.items())}
    whole = sum(shares.values())
    if not whole:
        return dict.fromkeys(shares, 0)
    exact = {team_id: total * share / whole for team_id, share in shares.items()}
    parts = {team_id: math.floor(part) for team_id, part in exact.items()}
    by_remainder = sorted(exact, key=lambda team_id: parts[team_id] - exact[team_id])
    for team_id in by_remainder[: total - sum(parts.values())]:
        parts[team_id] += 1
    return parts


def renew(balance: int, income: int, carry_periods: float) -> int:
    """The balance at the start of a period: `income`, and of the old balance at most `carry_periods` times the income.

    0 carries nothing over; 0.5 half a period's income. However long a team saves, it never holds more than
    (1 + carry_periods) times its income. A team whose income falls to 0 loses what it has.
    """
    if balance < 0 or income < 0 or carry_periods < 0:
        raise ValueError("Balance, income and carry-over are not negative.")
    return income + min(balance, math.floor(income * Fraction(carry_periods)))


def cost(price: float, device_seconds: float) -> int:
    """Micro-credits for so much use at `price` credits per device-hour, rounded to the nearest, halves to even."""
    if price < 0 or device_seconds < 0:
        raise ValueError("Price and use are not negative.")
    return round(Fraction(price) * MICRO * Fraction(device_seconds) / _SECONDS_PER_HOUR)


def affordable(balance: int, bid: float, devices: int, hours: float) -> float:
    """The bid, credits per device-hour, lowered to what `balance` pays for `devices` over the expected `hours`.

    0 is a refusal: with nothing left, work waits for what is free at the reserve price. Any result r keeps
    cost(r, devices * hours * 3600) within the balance. All bids of a team may win at once, so the caller takes what
    each could cost from the balance before it asks for the next.
    """
    device_seconds = devices * hours * _SECONDS_PER_HOUR
    if cost(bid, device_seconds) <= max(balance, 0):
        return bid
    if balance <= 0:
        return 0.0
    cap = Fraction(balance * _SECONDS_PER_HOUR, MICRO) / Fraction(device_seconds)
    nearest = float(cap)
    return nearest if nearest <= cap else math.nextafter(nearest, 0.0)


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of the credits that were set aside for work, micro-credits.

    charge + unpaid is what the use cost; balance + charge = the balance before + what was set aside.
    """

    charge: int
    refund: int
    unpaid: int
    balance: int


def settle(balance: int, reserved: int, price: float, device_seconds: float) -> Settlement:
    """Charge work that ended, was preempted, or reached the end of its period, for the time it held devices, no more.

    `reserved` was taken from the balance when the work started; what is over is refunded, so work preempted at once
    costs nothing. Use beyond it comes from `balance`, which never falls below 0: the rest is reported as `unpaid`.
    """
    if balance < 0 or reserved < 0:
        raise ValueError("The balance and what was set aside are not negative.")
    due = cost(price, device_seconds)
    charge = min(due, reserved + balance)
    return Settlement(charge, max(0, reserved - charge), due - charge, balance + reserved - charge)
