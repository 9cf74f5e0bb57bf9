"""Job starts per second end to end with PostgreSQL: snapshot, plan, apply.

``python -m benchmarks.starts`` starts a PostgreSQL of its own in a temporary folder, fills a pool, and lets the very
functions of the live site (`take_snapshot`, `plan`, `apply_plan`) start everything that waits, then releases it all and
does it again. Work is given back outside the clock. Peers are rates that others have published for their schedulers.
"""

import argparse
import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import django

PEERS = {"Slurm": 500, "kube-scheduler": 700, "Kueue": 43}  # job starts per second, as published by each project
TEAMS = 20


@dataclass(frozen=True)
class Round:
    """Seconds of each part of one turn, and how many claims it started."""

    starts: int
    snapshot: float
    plan: float
    apply: float

    @property
    def seconds(self) -> float:
        return self.snapshot + self.plan + self.apply


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=500)
    parser.add_argument("--devices", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    choices = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lepton-bench-") as folder:
        home = Path(folder).resolve()
        _use(home)
        from lepton_site import embedded

        embedded.start(home)
        try:
            _report(_measure(choices.nodes, choices.devices, choices.rounds))
        finally:
            embedded.stop(home)


def _use(home: Path) -> None:
    """Settings are read from the environment once, so it is set before Django is."""
    for name in ("DATABASE_URL", "REDIS_URL"):
        os.environ.pop(name, None)
    os.environ |= {"LEPTON_HOME": str(home), "DJANGO_SETTINGS_MODULE": "lepton_site.settings"}
    django.setup()


def _measure(nodes: int, devices: int, rounds: int) -> list[Round]:
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    pool, teams = _fill(nodes, devices)
    found = []
    for _number in range(rounds + 1):
        _ask(pool, teams, nodes * devices)
        found.append(_turn(pool))
        _release_all(pool)
    return found[1:]  # the first one warms up


def _fill(nodes: int, devices: int):
    from apps.accounts.models import Team
    from apps.resources.nodes import default_pool, register_node

    pool = default_pool()
    teams = [Team.objects.create(name=f"t{number}", slug=f"t{number}") for number in range(TEAMS)]
    gpus = [{"kind": "cuda", "index": index, "name": "GPU", "memory_bytes": 80 * 2**30} for index in range(devices)]
    facts = {"cpu_count": 64, "memory_bytes": 2**40, "storage_free_bytes": 2**40, "devices": gpus}
    for number in range(nodes):
        register_node(name=f"n{number}", facts=facts)
    return pool, teams


def _ask(pool, teams, devices: int) -> None:
    """Claims of one device, so that every start is one job."""
    from django.utils import timezone

    from apps.resources.models import Allocation
    from apps.resources.quotas import share_of

    for team in teams:
        share_of(team, pool)
    Allocation.objects.bulk_create(
        Allocation(
            pool=pool,
            team=teams[number % len(teams)],
            devices_asked=1,
            cpu_millicores=500,
            memory_bytes=2**30,
            submitted_at=timezone.now(),
        )
        for number in range(devices)
    )


def _turn(pool) -> Round:
    from apps.resources.planning import apply_plan
    from apps.resources.scheduling import plan
    from apps.resources.snapshots import take_snapshot

    _beat()
    clock = [time.perf_counter()]
    snapshot = take_snapshot(pool)
    clock.append(time.perf_counter())
    decided = plan(snapshot)
    clock.append(time.perf_counter())
    starts = apply_plan(pool, decided)
    clock.append(time.perf_counter())
    return Round(starts, *(after - before for before, after in zip(clock, clock[1:], strict=False)))


def _beat() -> None:
    from django.db.models.functions import Now

    from apps.resources.models import Node

    Node.objects.update(last_beat_at=Now())


def _release_all(pool) -> None:
    from apps.resources.models import Allocation, Device, Node, Placement, Share

    Device.objects.update(allocation=None)
    Placement.objects.all().delete()
    Allocation.objects.filter(pool=pool).delete()
    Node.objects.update(cpu_held_millicores=0, memory_held_bytes=0)
    Share.objects.update(held_devices=0, held_cpu_millicores=0, held_memory_bytes=0, held_jobs=0)


def _report(rounds: list[Round]) -> None:
    applied = statistics.median(item.starts / item.apply for item in rounds)
    whole = statistics.median(item.starts / item.seconds for item in rounds)
    for item in rounds:
        print(
            f"{item.starts:>6} starts: snapshot {item.snapshot:.2f} s, plan {item.plan:.2f} s, apply {item.apply:.2f} s"
        )
    for name, rate in PEERS.items():
        print(f"{name}: {rate}/s published; {whole / rate:.1f} times that here")
    print(f"starts: apply_per_second={applied:.0f} end_to_end_per_second={whole:.0f}")


if __name__ == "__main__":
    main()
