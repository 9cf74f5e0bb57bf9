"""Pure scheduling: no ORM, no clock, no logging, no randomness. `plan(snapshot)` decides; services apply it.

`Planner` is the same decision for those who decide again and again: it is told what changes.
"""

from apps.resources.scheduling.alternatives import Alternative, requests_that_would_help
from apps.resources.scheduling.feasibility import exceeds_limit, never_fits
from apps.resources.scheduling.plan import plan
from apps.resources.scheduling.planner import Planner
from apps.resources.scheduling.policies import POLICIES, Policy
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
    "POLICIES",
    "Alternative",
    "Demand",
    "Estimate",
    "Eviction",
    "Grant",
    "Limits",
    "NodeState",
    "Placement",
    "Plan",
    "Planner",
    "Policy",
    "PolicySettings",
    "Priority",
    "Reason",
    "Request",
    "Resources",
    "Running",
    "Snapshot",
    "Team",
    "Waiting",
    "exceeds_limit",
    "never_fits",
    "plan",
    "requests_that_would_help",
]
