"""Idle hardware is lent out, and whoever was promised it gets it back: with a checkpoint first, and not at once."""

from datetime import timedelta

import pytest
from django.db.models.functions import Now

from apps.accounts.models import Team
from apps.jobs import attempts
from apps.jobs.models import Job
from apps.resources.models import Allocation, Node, Pool
from apps.resources.nodes import default_pool
from apps.resources.planning import schedule_pool
from apps.resources.quotas import set_quota
from tests.jobs.making import make_node, make_version, run, submit
from tests.people import Person

pytestmark = pytest.mark.django_db
MIN_RUNTIME = 1800


@pytest.fixture
def pool() -> Pool:
    return default_pool()


@pytest.fixture
def node() -> Node:
    return make_node(devices=1)


@pytest.fixture
def promised(pool, owner) -> Team:
    """A team that was guaranteed the pool's only device."""
    set_quota(team=owner.team, pool=pool, resource="devices", user=None, guaranteed=1)
    return owner.team


def borrow(stranger: Person, node: Node, *, seconds_ago: int, is_preemptible: bool = True) -> Job:
    """A job of another team that has been running on the idle device."""
    job = submit(stranger.team)
    Allocation.objects.filter(pk=job.allocation_id).update(is_preemptible=is_preemptible)
    job = run(job, node)
    Allocation.objects.filter(pk=job.allocation_id).update(granted_at=Now() - timedelta(seconds=seconds_ago))
    return job


def claim_of(job: Job) -> Allocation:
    job.refresh_from_db()
    return Allocation.objects.get(pk=job.allocation_id)


def test_borrowed_hardware_is_asked_back_and_the_borrower_goes_on_later(promised, stranger, pool, node):
    borrower = borrow(stranger, node, seconds_ago=MIN_RUNTIME + 60)
    wanted = submit(promised, version=make_version(promised, "Wanted"))
    schedule_pool(pool)
    assert attempts.reason_to_leave(job_id=borrower.pk, attempt=1) == Allocation.Leave.RECLAIMED
    assert claim_of(wanted).reason["code"] == "being_freed"
    assert attempts.requeue_job(job=borrower, attempt=1, message="made room", is_strike=False)
    schedule_pool(pool)
    assert claim_of(wanted).status == Allocation.Status.GRANTED
    waiting = claim_of(borrower)
    assert (waiting.status, borrower.strikes) == (Allocation.Status.PENDING, 0)
    assert waiting.attained_seconds >= MIN_RUNTIME and waiting.submitted_at < waiting.requested_at


def test_what_was_started_may_run_for_the_time_it_was_promised(promised, stranger, pool, node):
    borrower = borrow(stranger, node, seconds_ago=MIN_RUNTIME - 60)
    wanted = submit(promised, version=make_version(promised, "Wanted"))
    schedule_pool(pool)
    assert attempts.reason_to_leave(job_id=borrower.pk, attempt=1) == ""
    assert claim_of(wanted).reason["code"] == "devices_busy"


def test_work_that_may_not_be_preempted_borrows_nothing_that_others_were_promised(promised, stranger, pool, node):
    job = submit(stranger.team)
    Allocation.objects.filter(pk=job.allocation_id).update(is_preemptible=False)
    schedule_pool(pool)
    claim = claim_of(job)
    assert claim.status == Allocation.Status.PENDING
    assert claim.reason["code"] == "promised" and "guaranteed" in claim.reason["message"]
    wanted = submit(promised, version=make_version(promised, "Wanted"))
    schedule_pool(pool)
    assert claim_of(wanted).status == Allocation.Status.GRANTED


def test_nobody_is_asked_to_leave_by_a_team_that_was_promised_nothing(owner, stranger, pool, node):
    borrower = borrow(stranger, node, seconds_ago=MIN_RUNTIME + 60)
    submit(owner.team, version=make_version(owner.team, "Wanted"))
    schedule_pool(pool)
    assert attempts.reason_to_leave(job_id=borrower.pk, attempt=1) == ""


def test_room_that_was_freed_for_somebody_is_not_taken_by_a_third_in_between(promised, member, stranger, pool, node):
    Pool.objects.update(policy="shortest_predicted", is_preemptive=False)
    pool.refresh_from_db()
    borrower = borrow(stranger, node, seconds_ago=MIN_RUNTIME + 60)
    wanted = submit(promised, member.user, make_version(promised, "Wanted"))
    Allocation.objects.filter(pk=wanted.allocation_id).update(low_seconds=9e5, median_seconds=9e5, high_seconds=9e5)
    schedule_pool(pool)
    attempts.requeue_job(job=borrower, attempt=1, message="made room", is_strike=False)
    shorter = submit(promised, member.user, make_version(promised, "Shorter"))
    Allocation.objects.filter(pk=shorter.allocation_id).update(low_seconds=1, median_seconds=1, high_seconds=1)
    schedule_pool(pool)
    assert claim_of(wanted).status == Allocation.Status.GRANTED
    assert claim_of(shorter).status == Allocation.Status.PENDING
    assert not Allocation.objects.filter(leaving_for=wanted.allocation_id).exists(), "the promise was kept once"
