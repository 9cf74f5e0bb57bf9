"""When work will start is forecast from what runs, what waits before it and how long such work takes."""

from datetime import timedelta

import pytest
from django.core.cache import cache
from django.utils import timezone

from apps.jobs.models import Job
from apps.resources.forecasting import forecast_pool
from apps.resources.models import Allocation, Node
from apps.resources.nodes import default_pool, retire_node
from apps.resources.planning import schedule_pool
from tests.jobs.making import make_node, make_version, run, submit


@pytest.fixture
def node(db) -> Node:
    return make_node(devices=1)


def expect(job: Job, minutes: float) -> None:
    """It was thought to run so long, nearly for sure."""
    seconds = minutes * 60
    estimate = {"low_seconds": seconds * 0.95, "median_seconds": seconds, "high_seconds": seconds * 1.05}
    Allocation.objects.filter(pk=job.allocation_id).update(**estimate)


def forecast() -> int:
    cache.clear()
    return forecast_pool(default_pool())


def claim_of(job: Job) -> Allocation:
    return Allocation.objects.get(pk=job.allocation_id)


def test_what_waits_starts_when_what_runs_is_thought_to_end(member, node):
    running = run(submit(member.team, member.user, make_version(member.team)), node)
    expect(running, minutes=60)
    first, second = (submit(member.team, member.user, make_version(member.team, name)) for name in ("A", "B"))
    for job in (first, second):
        expect(job, minutes=30)
    schedule_pool(default_pool())
    assert forecast() == 2
    now = timezone.now()
    for job, minutes in ((first, 60), (second, 90)):
        claim = claim_of(job)
        assert claim.starts_low_at <= claim.starts_high_at
        assert now < claim.starts_low_at < now + timedelta(minutes=minutes * 1.1)
        # a range begins at half and ends at twice the wait until forecasts of its kind have come true
        assert now + timedelta(minutes=minutes * 0.9) < claim.starts_high_at < now + timedelta(minutes=minutes * 2.1)
    page = member.page.get(f"/jobs/{second.pk}/").content.decode()
    assert "Expected to start" in page and "between" in page


def test_a_forecast_is_made_at_most_every_few_seconds(member, node):
    run(submit(member.team, member.user, make_version(member.team)), node)
    submit(member.team, member.user, make_version(member.team, "A"))
    assert forecast() == 1
    assert forecast_pool(default_pool()) == 0


def test_without_a_machine_no_time_is_claimed(member, node):
    run(submit(member.team, member.user, make_version(member.team)), node)
    job = submit(member.team, member.user, make_version(member.team, "A"))
    forecast()
    assert claim_of(job).starts_low_at is not None
    retire_node(node=node)
    forecast()
    assert claim_of(job).starts_low_at is None
    assert "cannot be told yet" in member.page.get(f"/jobs/{job.pk}/").content.decode()


def test_an_empty_queue_costs_nothing(node):
    assert forecast() == 0


def test_the_launch_form_says_when_it_would_start_behind_what_waits(member, node):
    running = run(submit(member.team, member.user, make_version(member.team)), node)
    expect(running, minutes=60)
    version = make_version(member.team, "A")
    start = member.page.get("/jobs/new/", {"dataset_version": version.pk}).context["prospect"].start
    assert not start.is_now and start.is_known
    assert timezone.now() + timedelta(minutes=50) < start.high_at
    expect(submit(member.team, member.user, version), minutes=120)
    later = member.page.get("/jobs/new/", {"dataset_version": version.pk}).context["prospect"].start
    assert later.high_at > start.high_at + timedelta(minutes=60)


def test_what_started_meanwhile_is_left_alone(member, node):
    job = submit(member.team, member.user, make_version(member.team))
    forecast()
    schedule_pool(default_pool())
    claim = claim_of(job)
    assert (claim.status, claim.starts_low_at) == ("granted", None)
