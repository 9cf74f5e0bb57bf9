"""Usage that was, written down as the site writes it."""

from datetime import datetime, timedelta
from decimal import Decimal

from apps.accounts.models import Team, User
from apps.resources.models import Allocation, Node, UsageRecord
from apps.resources.nodes import default_pool, register_node

CPU_NAME = "Fast CPU"


def used(
    team: Team,
    user: User | None,
    ended_at: datetime,
    *,
    hours: float = 1.0,
    devices: int = 1,
    busy: float = 1.0,
    cost: str = "0",
    kind: str = "cpu",
    job: tuple[int | None, str] = (None, ""),
) -> UsageRecord:
    started_at = ended_at - timedelta(hours=hours)
    claim = Allocation.objects.create(
        pool=default_pool(), team=team, user=user, status="released", granted_at=started_at, released_at=ended_at
    )
    seconds = devices * hours * 3600
    return UsageRecord.objects.create(
        team=team, user=user, pool=default_pool(), allocation=claim, job_id=job[0], job_name=job[1], device_kind=kind,
        device_count=devices, device_seconds=seconds, busy_device_seconds=seconds * busy, cost=Decimal(cost),
        started_at=started_at, ended_at=ended_at,
    )  # fmt: skip


def machine(devices: int = 2, kind: str = "cpu", name: str = CPU_NAME) -> Node:
    facts = {
        "cpu_count": 4,
        "memory_bytes": 16 * 10**9,
        "devices": [{"kind": kind, "index": n, "name": name, "memory_bytes": 10**9} for n in range(devices)],
    }
    return register_node(name="alpha", facts=facts)
