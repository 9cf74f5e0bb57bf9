"""A replay: every job ends, is held for exactly its duration and its preemptions, and never shares a device."""

from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.resources.scheduling.prediction import estimate_from
from apps.resources.scheduling.replay import Job, replay
from apps.resources.scheduling.types import PolicySettings
from benchmarks.scheduling import LeastServiceKnown, known
from benchmarks.traces import make_nodes, read_trace

NODES, DEVICES = 3, 4
COST = 60.0

jobs_of_a_day = st.lists(
    st.builds(
        lambda at, duration, devices, user: (float(at), float(duration), devices, user),
        st.integers(0, 86_400),
        st.integers(1, 40_000),
        st.sampled_from((1, 2, 3, 4, 8, 12)),
        st.integers(0, 2),
    ),
    min_size=1,
    max_size=25,
)


def make(rows):
    rows = sorted(rows)
    return [Job(n, at, duration, devices, user_id=user) for n, (at, duration, devices, user) in enumerate(rows, 1)]


@pytest.mark.parametrize("policy", ["fifo", "fair_share", "shortest_predicted"])
@given(rows=jobs_of_a_day)
@settings(max_examples=15)
def test_every_job_ends_and_costs_what_it_must(policy, rows):
    jobs = make(rows)
    rules = PolicySettings(policy, min_runtime_seconds=600.0, checkpoint_cost_seconds=COST)
    outcome = replay(jobs, make_nodes(NODES, DEVICES), rules)
    assert [result.job for result in outcome.results] == jobs
    held = defaultdict(float)
    for execution in outcome.executions:
        held[execution.job_id] += execution.ended_at - execution.started_at
    for result in outcome.results:
        due = result.job.duration_seconds + COST * result.preemptions
        assert result.busy_seconds == pytest.approx(due) == pytest.approx(held[result.job.id])
        assert result.started_at >= result.job.submitted_at
        assert result.wait_seconds == pytest.approx(result.turnaround_seconds - due, abs=1e-3)
    assert_no_device_is_shared(outcome.executions)


def assert_no_device_is_shared(executions):
    stays = defaultdict(list)
    for execution in executions:
        for placement in execution.placements:
            for device in placement.device_ids:
                stays[placement.node_id, device].append((execution.started_at, execution.ended_at))
    for times in stays.values():
        times.sort()
        for (_, ended), (started, _) in zip(times, times[1:], strict=False):
            assert ended <= started


def test_the_future_is_never_seen():
    """Until the first job ends, other durations change nothing."""
    rows = [(float(n), 5_000.0 + 100 * n, 4, 0) for n in range(6)]
    plans = []
    for factor in (1.0, 3.0):
        seen = []
        replay(
            make([(at, duration * factor, devices, user) for at, duration, devices, user in rows]),
            make_nodes(NODES, DEVICES),
            PolicySettings("shortest_predicted"),
            observe=lambda now, planner, plan, seen=seen: seen.append((now, plan.grants)) if now < 4_900.0 else None,
        )
        plans.append(seen)
    assert plans[0] == plans[1]


def test_with_known_durations_the_shortest_service_goes_first():
    rules = PolicySettings("fifo", min_runtime_seconds=0.0, checkpoint_cost_seconds=0.0)
    jobs = [Job(1, 0.0, 10_000.0, 4), Job(2, 100.0, 50.0, 4)]
    outcome = replay(jobs, make_nodes(1, 4), rules, policy=LeastServiceKnown(rules), predict=known)
    long, short = outcome.results
    assert (short.ended_at, long.ended_at, long.preemptions) == (150.0, 10_050.0, 1)


def test_a_stream_of_short_work_does_not_starve_long_work():
    """Short jobs keep the only node busy for nine days; the long gang ends while they still come."""
    short = [Job(n, 500.0 * n, 1_000.0, 2) for n in range(1, 1_500)]
    rules = PolicySettings("shortest_predicted", starvation_seconds=43_200.0, min_runtime_seconds=5_000.0)
    outcome = replay([Job(9_999, 0.0, 30_000.0, 4), *short], make_nodes(1, 4), rules, predict=exactly)
    gang = next(result for result in outcome.results if result.job.id == 9_999)
    assert gang.ended_at < max(result.ended_at for result in outcome.results) - 86_400.0


def exactly(job, attained):
    return estimate_from([job.duration_seconds])


def test_a_trace_is_read_whatever_its_team_is_called(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("job_id,user,vc,name,submit_time,duration,gpus\na,u,v,n,20,5,1\nb,u,w,n,10,5,2\nc,u,w,n,1,5,9\n")
    jobs = read_trace(path, capacity=8)
    assert [(job.submitted_at, job.devices, job.team_id) for job in jobs] == [(10.0, 2, 1), (20.0, 1, 2)]
