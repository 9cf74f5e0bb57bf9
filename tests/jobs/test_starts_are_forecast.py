"""When work will start is forecast from what runs, what waits before it and how long such work takes."""

import math
from datetime import timedelta

import pytest
from django.core.cache import cache
from django.utils import timezone

from apps.jobs.models import Job
from apps.resources.forecasting import forecast_pool
from apps.resources.models import Allocation, Node
from apps.resources.nodes import default_pool, retire_node
from apps.resources.planning import schedule_pool
from apps.resources.scheduling.forecast import Calibration
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
        # a range begins at a third and ends at three times the wait until forecasts have come true
        assert now + timedelta(minutes=minutes * 0.9) < claim.starts_high_at < now + timedelta(minutes=minutes * 3.2)
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


def minutes_ago(minutes: float):
    return timezone.now() - timedelta(minutes=minutes)


def foretold(job: Job, *, low, high, granted=None) -> None:
    """What was said first of its start, and when it came."""
    status = "released" if granted is None else "granted"
    times = {"foretold_low_at": low, "foretold_high_at": high, "granted_at": granted}
    Allocation.objects.filter(pk=job.allocation_id).update(status=status, **times)


def test_the_first_range_that_was_given_is_remembered_until_the_start(member, node):
    expect(run(submit(member.team, member.user, make_version(member.team)), node), minutes=60)
    job = submit(member.team, member.user, make_version(member.team, "A"))
    forecast()
    first = claim_of(job)
    expect(job, minutes=5)
    Allocation.objects.filter(pk=job.allocation_id).update(starts_low_at=None)
    forecast()
    again = claim_of(job)
    assert again.starts_low_at is not None
    assert (again.foretold_low_at, again.foretold_high_at) == (first.foretold_low_at, first.foretold_high_at)
    assert first.foretold_low_at == first.starts_low_at


def test_a_start_after_its_range_widens_the_ranges_to_come_once(member, node):
    late = run(submit(member.team, member.user, make_version(member.team)), node)
    foretold(late, low=minutes_ago(50), high=minutes_ago(40), granted=minutes_ago(10))
    before = Calibration()
    forecast()
    learned = Calibration(**default_pool().start_calibration)
    assert learned.above > before.above and learned.below < before.below
    expect(late, minutes=60)
    job = submit(member.team, member.user, make_version(member.team, "A"))
    forecast()
    wait = claim_of(job).starts_high_at - timezone.now()
    assert wait > timedelta(minutes=60 * 0.9 * math.exp(before.above))
    assert Calibration(**default_pool().start_calibration) == learned
    assert claim_of(late).foretold_low_at is None


def test_who_gave_up_waiting_teaches_nothing(member, node):
    gone = submit(member.team, member.user, make_version(member.team))
    foretold(gone, low=minutes_ago(50), high=minutes_ago(40))
    forecast()
    assert Calibration(**default_pool().start_calibration) == Calibration()
    assert claim_of(gone).foretold_low_at is None
