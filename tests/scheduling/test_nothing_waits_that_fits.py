"""Plans conserve work. What may wait though it fits is exactly this: work over a limit; work that cannot be preempted
and would lock what is guaranteed to others; whoever would take room that is being freed; and work that would outlast
the start of the reservation, by the policy's way to count, or that of a starving gang where the policy is hopeful.
"""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.resources.scheduling import POLICIES, plan
from apps.resources.scheduling.planner import waiting_since
from tests.scheduling.pools import ALL_POLICIES, fits, left_free, snapshots

SHARES = {"team_limit", "user_limit", "hours_spent", "budget_spent"}


def is_starving(request, snapshot):
    has_waited = snapshot.now - waiting_since(request) >= snapshot.settings.starvation_seconds
    return has_waited or request.demand.is_service


@pytest.mark.parametrize("policy", ALL_POLICIES)
@given(data=st.data())
@settings(max_examples=25)
def test_nothing_waits_that_fits(policy, data):
    snapshot = data.draw(snapshots(policy))
    decided = plan(snapshot)
    nodes = left_free(snapshot, decided)
    rules = POLICIES[policy](snapshot.settings)
    asked = {request.id: request for request in snapshot.requests}
    reserved = [waiting for waiting in decided.waiting if waiting.starts_at is not None]
    longest = reserved[0].starts_at - snapshot.now if reserved else math.inf
    if reserved and rules.is_hopeful and is_starving(asked[reserved[0].request_id], snapshot):
        longest = 0.0
    promised = any(waiting.reason.code == "being_freed" for waiting in decided.waiting)
    for waiting in decided.waiting:
        request = asked[waiting.request_id]
        if promised or waiting.reason.code in SHARES or not request.is_preemptible:
            continue
        if rules.backfill_seconds(request) > longest:
            continue
        assert not fits(request.demand, nodes)
