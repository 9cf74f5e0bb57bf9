"""Pure scheduling: no ORM, no clock, no logging. `plan(snapshot)` decides; services apply it."""

from apps.resources.scheduling.plan import plan
from apps.resources.scheduling.types import (
    Demand,
    Estimate,
    Eviction,
    Grant,
    Limits,
    NodeState,
    Placement,
    Plan,
    PolicySettings,
    Priority,
    Reason,
    Request,
    Resources,
    Running,
    Snapshot,
    Team,
    Waiting,
)

__all__ = [
    "Demand",
    "Estimate",
    "Eviction",
    "Grant",
    "Limits",
    "NodeState",
    "Placement",
    "Plan",
    "PolicySettings",
    "Priority",
    "Reason",
    "Request",
    "Resources",
    "Running",
    "Snapshot",
    "Team",
    "Waiting",
    "plan",
]
