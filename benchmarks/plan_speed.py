"""Decisions per second of the scheduler with 100,000 waiting requests and 10,000 nodes.

    python -m benchmarks.plan_speed [--pending 100000] [--nodes 10000] [--cycles 200] [--policy fair_share]

Quotas of teams and of persons, guarantees with reclaiming, fair shares and EASY backfill are on. The pool is full. In
each cycle some work ends and as much arrives, the planner is told of every one, and decides; the time of a cycle is all
of that. A decision is a grant or an eviction. Last, the same with a pool of 64 nodes, one event at a time.

The peers' figures are what their own projects publish, on their own hardware and for more work per decision than the
bare decision that is timed here (they also write it to a store): a ratio says in which league we play, and no more.
"""

import argparse
import gc
import heapq
import random
import time
from dataclasses import dataclass

from apps.resources.scheduling import (
    Demand,
    Estimate,
    Limits,
    NodeState,
    Planner,
    PolicySettings,
    Priority,
    Request,
    Resources,
    Snapshot,
    Team,
)

GIB = 1 << 30
PEERS = {
    "Slurm, jobs started per second": 500.0,
    "Kueue, workloads admitted per second": 43.0,
    "kube-scheduler, pods bound per second": 700.0,
}
SIZES = ((1, 2, 4, 8, 16, 32, 64), (50, 15, 12, 16, 4, 2, 1))
DURATIONS = (60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, 24 * 3600.0)
TEAMS = 50
USERS = 20


@dataclass
class Measured:
    seconds: list[float]
    decisions: int

    def per_second(self) -> float:
        return self.decisions / sum(self.seconds)

    def quantile(self, share: float) -> float:
        """Milliseconds."""
        ordered = sorted(self.seconds)
        return 1000.0 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Load:
    """A stream of work, and the virtual clock by which it ends. True durations spread around the estimates."""

    def __init__(self, rng: random.Random, planner: Planner, largest: int) -> None:
        self.rng = rng
        self.planner = planner
        self.largest = largest
        self.now = 0.0
        self.ends: list[tuple[float, int]] = []
        self.durations: dict[int, float] = {}
        self.next_id = 1

    def request(self) -> Request:
        rng = self.rng
        request_id, self.next_id = self.next_id, self.next_id + 1
        devices = min(rng.choices(*SIZES)[0], self.largest)
        median = rng.choice(DURATIONS)
        self.durations[request_id] = median * rng.uniform(0.3, 1.7)
        return Request(
            id=request_id,
            team_id=min(int(rng.expovariate(0.08)), TEAMS - 1),
            user_id=rng.randrange(USERS),
            demand=Demand(devices, 4000 * devices, 16 * GIB * devices, max_nodes=None if devices > 8 else 1),
            submitted_at=self.now,
            priority=rng.choices(tuple(Priority), (20, 70, 10))[0],
            is_preemptible=rng.random() < 0.8,
            estimate=Estimate(median * 0.4, median, median * 1.7) if rng.random() < 0.9 else None,
        )

    def apply(self, plan) -> int:
        """Start the clocks of what was granted; what was asked to leave is gone after a minute."""
        for grant in plan.grants:
            heapq.heappush(self.ends, (self.now + self.durations.pop(grant.request_id), grant.request_id))
        for eviction in plan.evictions:
            heapq.heappush(self.ends, (self.now + 60.0, eviction.request_id))
        return len(plan.grants) + len(plan.evictions)

    def ended(self, count: int) -> list[int]:
        """The next `count` works that end, with the clock set to the last of them."""
        gone: list[int] = []
        while len(gone) < count and self.ends:
            at, request_id = heapq.heappop(self.ends)
            self.now = max(self.now, at)
            if request_id in self.planner.claims and request_id not in gone:
                gone.append(request_id)
        return gone


def pool(nodes: int) -> list[NodeState]:
    return [
        NodeState(
            id=number,
            name=f"node-{number}",
            device_kind="h100" if number % 4 else "a100",
            device_count=8,
            free_devices=tuple(range(number * 8, number * 8 + 8)),
            cpu_millicores=64_000,
            free_cpu_millicores=64_000,
            memory_bytes=512 * GIB,
            free_memory_bytes=512 * GIB,
        )
        for number in range(1, nodes + 1)
    ]


def teams(devices: int) -> dict[int, Team]:
    """Half of the pool is guaranteed; each team may hold up to a fifth, each person a fifth of that."""
    share = devices // TEAMS
    return {
        number: Team(
            id=number,
            weight=1.0 + number % 4,
            guaranteed=Resources(devices=share // 2),
            limit=Limits(devices=devices // 5),
            user_limit=Limits(devices=max(devices // 25, 64)),
        )
        for number in range(TEAMS)
    }


def fill(planner: Planner, load: Load, pending: int) -> None:
    """Start as the pool would be found: full, and with `pending` requests waiting."""
    while True:
        for _ in range(max(pending // 10, 1000)):
            planner.submit(load.request())
        load.apply(planner.decide(load.now))
        if len(planner.tickets) >= pending:
            break
    for request_id in sorted(planner.tickets)[pending:]:
        planner.withdraw(request_id)


def measure(planner: Planner, load: Load, cycles: int, batch: int) -> Measured:
    measured = Measured([], 0)
    for _ in range(cycles):
        gone = load.ended(batch)
        arrived = [load.request() for _ in gone]
        start = time.perf_counter()
        for request_id in gone:
            planner.finish(request_id)
        for request in arrived:
            planner.submit(request)
        plan = planner.decide(load.now)
        measured.seconds.append(time.perf_counter() - start)
        measured.decisions += load.apply(plan)
    return measured


def settle(planner: Planner, load: Load, cycles: int, batch: int) -> None:
    """Warm up. The planner leaves no cycles behind, so that Python's collector of them can rest while we measure."""
    measure(planner, load, cycles, batch)
    gc.collect()
    gc.freeze()
    gc.disable()


def prepare(nodes: int, pending: int, policy: str, largest: int) -> tuple[Planner, Load]:
    settings = PolicySettings(policy=policy)
    planner = Planner(Snapshot(0.0, pool(nodes), (), (), teams(nodes * 8), settings))
    load = Load(random.Random(7), planner, largest)
    fill(planner, load, pending)
    return planner, load


def in_milliseconds(measured: Measured) -> str:
    return f"p50 {measured.quantile(0.5):.2f} ms, p99 {measured.quantile(0.99):.2f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pending", type=int, default=100_000)
    parser.add_argument("--nodes", type=int, default=10_000)
    parser.add_argument("--cycles", type=int, default=200)
    parser.add_argument("--batch", type=int, default=300, help="works that end, and arrive, in a cycle")
    parser.add_argument("--policy", default="fair_share")
    options = parser.parse_args()

    planner, load = prepare(options.nodes, options.pending, options.policy, largest=64)
    settle(planner, load, options.cycles // 4, options.batch)
    large = measure(planner, load, options.cycles, options.batch)
    start = time.perf_counter()
    waits = len(list(planner.decide(load.now).waiting))
    reading = time.perf_counter() - start
    print(f"{options.nodes} nodes, {options.pending} pending, {len(planner.claims)} running, {options.policy}")
    print(f"  a cycle of {options.batch} ends and arrivals: {in_milliseconds(large)}")
    print(f"  {large.decisions / options.cycles:.0f} grants and evictions a cycle, {large.per_second():.0f} a second")
    print(f"  all {waits} reasons, when somebody reads them: {reading:.2f} s")
    for peer, published in PEERS.items():
        print(f"  {large.per_second() / published:6.0f} times {peer}: {published:.0f}")

    small_planner, small_load = prepare(64, 3_000, options.policy, largest=64)
    settle(small_planner, small_load, 100, 1)
    small = measure(small_planner, small_load, 2_000, 1)
    print(f"64 nodes, 3000 pending, one end and arrival at a time: {in_milliseconds(small)}")
    print(f"plan: decisions_per_second={large.per_second():.0f} cycle_p99_ms={large.quantile(0.99):.2f}")


if __name__ == "__main__":
    main()
