"""Seconds of one exact auction: 1,000 bids for 8,192 devices, with all payments, and what two other ways would take.

    python -m benchmarks.auction

The peers, in the same run: the same set of winners from a general solver (HiGHS through scipy.optimize.milp, gap 0),
and payments the plain way, one full solution without each winning team, by HiGHS and by dynamic programming, measured
on a sample of the teams and multiplied. Both check the auction's welfare and payments to the micro-credit.

Last line: the median seconds of the auction on the first workload, HiGHS's seconds for the winners alone over it, and
whether welfare and payments were equal on all workloads.
"""

import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from apps.resources.scheduling.auction import Bid, Outcome, clear
from apps.resources.scheduling.credits import to_micro

BIDS = 1_000
DEVICES = 8_192
TEAMS = 250
REPEATS = 9
SAMPLED_TEAMS = 8


def gangs_of_nodes(rng: random.Random) -> list[Bid]:
    """Powers of two, mostly small, as jobs ask for; prices per device-hour spread log-normally."""
    sizes = rng.choices((1, 2, 4, 8, 16, 32, 64, 128, 256), (16, 12, 14, 24, 12, 9, 7, 4, 2), k=BIDS)
    return _bids(rng, sizes, lambda devices: devices * rng.lognormvariate(0, 0.8))


def odd_gangs(rng: random.Random) -> list[Bid]:
    """Any size from 1 to 64 and prices close together, so that much depends on how the gangs fit."""
    sizes = [rng.randint(1, 64) for _ in range(BIDS)]
    return _bids(rng, sizes, lambda devices: devices * rng.uniform(1.0, 1.5))


def _bids(rng: random.Random, sizes: Sequence[int], value: Callable[[int], float]) -> list[Bid]:
    return [Bid(k, rng.randrange(TEAMS), size, round(value(size), 3)) for k, size in enumerate(sizes)]


def solver_welfare(bids: Sequence[Bid]) -> int:
    """The best welfare by HiGHS, in micro-credits counted from the bids that it chose."""
    found = milp(
        -np.array([bid.value for bid in bids]),
        constraints=LinearConstraint(np.array([[bid.devices for bid in bids]]), ub=DEVICES),
        integrality=np.ones(len(bids)),
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": 0.0},
    )
    chosen = [bid for bid, share in zip(bids, found.x, strict=True) if share > 0.5]
    if sum(bid.devices for bid in chosen) > DEVICES:
        raise RuntimeError("HiGHS chose more than there is.")
    return sum(to_micro(bid.value) for bid in chosen)


def table_welfare(bids: Sequence[Bid]) -> int:
    """The best welfare by the plain table over all devices, in micro-credits."""
    worth = np.zeros(DEVICES + 1, np.int64)
    for bid in bids:
        worth[bid.devices :] = np.maximum(worth[bid.devices :], worth[: -bid.devices] + to_micro(bid.value))
    return int(worth[-1])


def seconds_of(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def payments_differ(bids: Sequence[Bid], outcome: Outcome, team_id: int, without: int) -> bool:
    """Whether the team pays anything but what it costs the others, given their welfare without it."""
    values = {bid.id: to_micro(bid.value) for bid in bids}
    own = {bid.id for bid in bids if bid.team_id == team_id}
    paid = sum(to_micro(price) for bid_id, price in outcome.payments.items() if bid_id in own)
    return paid != without - sum(values[bid_id] for bid_id in outcome.winners if bid_id not in own)


def plain_payments(bids: Sequence[Bid], outcome: Outcome, rng: random.Random) -> tuple[dict[str, float], bool]:
    """Seconds of one full solution without each winning team, by either peer, and whether the payments are equal."""
    teams = sorted({bid.team_id for bid in bids if bid.id in outcome.payments})
    sample = rng.sample(teams, min(SAMPLED_TEAMS, len(teams)))
    seconds, is_equal = {}, True
    for name, solve in (("HiGHS", solver_welfare), ("table", table_welfare)):
        start = time.perf_counter()
        without = [solve([bid for bid in bids if bid.team_id != team_id]) for team_id in sample]
        seconds[name] = (time.perf_counter() - start) * len(teams) / len(sample)
        pairs = zip(sample, without, strict=True)
        is_equal = is_equal and not any(payments_differ(bids, outcome, *pair) for pair in pairs)
    return seconds, is_equal


def compare(name: str, bids: Sequence[Bid], rng: random.Random) -> tuple[float, float, bool]:
    """Print one workload's figures; return seconds, HiGHS's seconds for the winners over them, and equality."""
    outcome = clear(bids, DEVICES)
    seconds, solver_seconds = [], []
    for _ in range(REPEATS):
        seconds.append(seconds_of(lambda: clear(bids, DEVICES)))
        solver_seconds.append(seconds_of(lambda: solver_welfare(bids)))
    ours, solver = statistics.median(seconds), statistics.median(solver_seconds)
    plain, is_equal = plain_payments(bids, outcome, rng)
    is_equal = is_equal and to_micro(outcome.welfare) == solver_welfare(bids) == table_welfare(bids)
    asked = sum(bid.devices for bid in bids)
    print(f"{name}: {len(bids)} bids ask for {asked} of {DEVICES} devices, {len(outcome.winners)} win")
    print(f"  auction, winners and all payments {ours:9.4f} s, {min(seconds):.4f} to {max(seconds):.4f}")
    print(f"  HiGHS, the winners alone          {solver:9.4f} s, {solver / ours:.1f} times")
    for peer, taken in plain.items():
        print(f"  {peer}, payments team by team      {taken:9.4f} s, {taken / ours:.0f} times *")
    print(f"  welfare {outcome.welfare:.3f}, clearing price {outcome.clearing_price:.6f}, equal {is_equal}")
    return ours, solver / ours, is_equal


def main() -> int:
    rng = random.Random(20)
    results = [compare(make.__name__, make(rng), rng) for make in (gangs_of_nodes, odd_gangs)]
    print(f"Medians of {REPEATS} runs. * measured on {SAMPLED_TEAMS} teams and multiplied.")
    seconds, ratio, _ = results[0]
    is_equal = all(equal for _, _, equal in results)
    print(f"auction: seconds={seconds:.4f} milp_ratio={ratio:.1f} welfare_equal={'yes' if is_equal else 'no'}")
    return 0 if is_equal else 1


if __name__ == "__main__":
    sys.exit(main())
