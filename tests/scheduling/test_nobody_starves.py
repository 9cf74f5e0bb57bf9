"""Under a steady stream of better-ranked work that would fill the pool alone, a gang still starts in bounded time."""

import pytest

from apps.resources.scheduling import Estimate, Planner, PolicySettings, Priority, Snapshot, Team
from tests.scheduling.pools import ALL_POLICIES, node, request, runs_for

STARVATION = 500.0
RUNS_FOR = 60.0
# What the work in the stream is thought to take: nothing is known, or all, or it is expected to end sooner every time.
STREAMS = {
    "unknown": None,
    "known": runs_for(RUNS_FOR),
    "late": Estimate(1.0, 1.0, RUNS_FOR, (1.0, 1.0, 1.0, RUNS_FOR)),
}


def wait_of_the_gang(policy: str, *, is_preemptive: bool, stream: str) -> float:
    """Seconds until a gang of the whole pool starts, while two works of half a node arrive every 20 seconds."""
    teams = {1: Team(1, weight=0.01), 2: Team(2, weight=100.0, credits=1e6)}
    rules = PolicySettings(policy, is_preemptive=is_preemptive, min_runtime_seconds=30, starvation_seconds=STARVATION)
    gang = request(
        1, 16, at=10.0, nodes=None, priority=Priority.LOW, estimate=runs_for(1e5) if STREAMS[stream] else None
    )
    planner = Planner(Snapshot(0.0, [node(1), node(2)], (), (), teams, rules))
    next_id = 2
    for step in range(200):
        now = 20.0 * step
        for claim in list(planner.claims.values()):
            if now - claim.started_at >= RUNS_FOR or claim.leaving_for is not None:
                planner.finish(claim.request.id)
        for _ in range(2):
            better = request(next_id, 4, team=2, at=now, priority=Priority.HIGH, bid=5.0, estimate=STREAMS[stream])
            planner.submit(better)
            next_id += 1
        if step == 1:
            planner.submit(gang)
        if any(grant.request_id == 1 for grant in planner.decide(now).grants):
            return now - gang.submitted_at
    return float("inf")


@pytest.mark.parametrize("policy", ALL_POLICIES)
@pytest.mark.parametrize("is_preemptive", (True, False))
@pytest.mark.parametrize("stream", STREAMS)
def test_a_gang_starts_soon_after_it_has_starved(policy, is_preemptive, stream):
    assert wait_of_the_gang(policy, is_preemptive=is_preemptive, stream=stream) <= STARVATION + 2 * RUNS_FOR + 40
