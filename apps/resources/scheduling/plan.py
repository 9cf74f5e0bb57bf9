"""The decision: from a snapshot to a plan."""

from apps.resources.scheduling.planner import Planner
from apps.resources.scheduling.types import Plan, Snapshot


def plan(snapshot: Snapshot) -> Plan:
    """Give every request of `snapshot` a grant or a reason to wait, and say who is to leave for whom.

    Equal snapshots give equal plans, whatever the order of nodes, requests and running work in them. Raises KeyError
    for a policy that is not known.
    """
    return Planner(snapshot).decide(snapshot.now)
