"""Cluster traces as jobs to replay.

A CSV with the columns `job_id,user,team,name,submit_time,duration,gpus` (times in seconds); `vc` is read as `team`, and
`req_time`, the person's own estimate, may be there. Missing columns are empty.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

from apps.resources.scheduling.replay import Job
from apps.resources.scheduling.types import NodeState

# Traces know no CPU and no memory: every node has plenty of both, and nothing asks for any.
PLENTY = 1 << 40


def read_trace(path: str | Path, capacity: int, limit: int = 0) -> list[Job]:
    """The jobs by submission time; those that ask for no device, or for more than there are, are left out."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if 0 < int(float(row["gpus"])) <= capacity]
    rows.sort(key=lambda row: float(row["submit_time"]))
    users, teams = {"": 0}, {"": 0}
    return [
        Job(
            id=number,
            submitted_at=float(row["submit_time"]),
            duration_seconds=max(1.0, float(row["duration"])),
            devices=int(float(row["gpus"])),
            team_id=teams.setdefault(row.get("team") or row.get("vc") or "", len(teams)),
            user_id=users.setdefault(row.get("user") or "", len(users)),
            kind=row.get("name") or "",
            limit_seconds=float(row.get("req_time") or 0.0),
        )
        for number, row in enumerate(rows[: limit or None], start=1)
    ]


def make_nodes(count: int, devices: int) -> Sequence[NodeState]:
    return tuple(
        NodeState(
            id=number,
            name=f"node{number}",
            device_kind="gpu",
            device_count=devices,
            free_devices=tuple(range(devices)),
            cpu_millicores=PLENTY,
            free_cpu_millicores=PLENTY,
            memory_bytes=PLENTY,
            free_memory_bytes=PLENTY,
        )
        for number in range(1, count + 1)
    )
