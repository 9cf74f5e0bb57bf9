"""The decision: from a snapshot to a plan."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from apps.resources.scheduling.planner import Planner
from apps.resources.scheduling.types import Plan, Snapshot


def plan(snapshot: Snapshot) -> Plan:
    """Give every request of `snapshot` a grant or a reason to wait, and say who is to leave for whom.

    Equal snapshots give equal plans, whatever the order of nodes, requests and running work in them. Raises KeyError
    for a policy that is not known.
    """
    with collector_at_rest():
        return Planner(snapshot).decide(snapshot.now)


@contextmanager
def collector_at_rest() -> Iterator[None]:
    """Keep Python's collector of cycles from looking through what is made meanwhile, again and again.

    A plan of a large pool makes a million objects, all of which are needed to its end: the collector would find nothing
    and take as long as the plan itself. It is left as it was found.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
