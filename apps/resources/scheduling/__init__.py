"""Pure scheduling: no ORM, no clock, no logging. `plan(snapshot)` decides; services apply it."""

from apps.resources.scheduling.plan import plan
from apps.resources.scheduling.types import Grant, NodeState, Plan, Reason, Request, Snapshot, Waiting

__all__ = ["Grant", "NodeState", "Plan", "Reason", "Request", "Snapshot", "Waiting", "plan"]
