"""Plans conserve work. What may wait though it fits is exactly this: work over a limit; work that cannot be preempted
and would lock what is guaranteed to others; whoever would take room that is being freed; and work that would outlast
the start of the reservation, its duration rounded up to a power of the square root of two.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.resources.scheduling import plan
from apps.resources.scheduling.queue import rounded_seconds
from tests.scheduling.pools import ALL_POLICIES, fits, left_free, snapshots

SHARES = {"team_limit", "user_limit", "hours_spent", "budget_spent"}


@pytest.mark.parametrize("policy", ALL_POLICIES)
@given(data=st.data())
@settings(max_examples=25)
def test_nothing_waits_that_fits(policy, data):
    snapshot = data.draw(snapshots(policy))
    decided = plan(snapshot)
    nodes = left_free(snapshot, decided)
    asked = {request.id: request for request in snapshot.requests}
    reserved = [waiting.starts_at for waiting in decided.waiting if waiting.starts_at is not None]
    promised = any(waiting.reason.code == "being_freed" for waiting in decided.waiting)
    for waiting in decided.waiting:
        request = asked[waiting.request_id]
        if promised or waiting.reason.code in SHARES or not request.is_preemptible:
            continue
        if reserved and snapshot.now + rounded_seconds(request) > reserved[0]:
            continue
        assert not fits(request.demand, nodes)
