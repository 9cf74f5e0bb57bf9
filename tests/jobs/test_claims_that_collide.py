"""Two who want the same job at the same moment: the database decides, and only one of them wins.

A statement that waits for another's row lock sees the row anew, but not what it had joined to it before it waited. So
each test holds one transaction open until the other waits for it.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection, connections, transaction
from django.utils import timezone

from apps.jobs.attempts import claim_job
from apps.jobs.models import Job
from apps.jobs.services import cancel_job
from apps.resources.models import Allocation, Device, Node
from apps.resources.nodes import default_pool
from apps.resources.planning import schedule_pool
from apps.resources.services import reclaim_unclaimed
from tests.jobs.making import make_node, submit
from tests.people import Person

pytestmark = pytest.mark.django_db(transaction=True)

WAIT_SECONDS = 10
S = Job.Status


@pytest.fixture
def node() -> Node:
    return make_node(devices=1)


@pytest.fixture
def job(owner: Person, node: Node) -> Job:
    job = submit(owner.team, owner.user)
    schedule_pool(default_pool())
    job.refresh_from_db()
    return job


def while_open(first: Callable[[], object], second: Callable[[], object]) -> object:
    """Run `first` in a transaction, start `second` on another connection, commit once it waits; what `second` said."""

    def on_a_connection_of_its_own() -> object:
        try:
            return second()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            first()
            answer = pool.submit(on_a_connection_of_its_own)
            _until_one_waits()
        return answer.result(timeout=WAIT_SECONDS)


def _until_one_waits() -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    question = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with connection.cursor() as cursor:
        while time.monotonic() < deadline:
            cursor.execute(
                "SELECT pg_stat_clear_snapshot()"
            )  # else connections younger than the first look stay unseen
            cursor.execute(question)
            if cursor.fetchone()[0]:
                return
            time.sleep(0.01)
    raise AssertionError("the second one did not wait for the first")


def test_a_job_that_is_being_cancelled_is_not_claimed(job, node, owner):
    claimed = while_open(lambda: cancel_job(job=job, user=owner.user), lambda: claim_job(job_id=job.pk, node=node))
    job.refresh_from_db()
    assert claimed is None
    assert job.status == S.CANCELLED
    assert not Device.objects.exclude(allocation=None).exists()


def test_a_job_that_is_being_claimed_is_asked_to_stop(job, node, owner):
    while_open(lambda: claim_job(job_id=job.pk, node=node), lambda: cancel_job(job=job, user=owner.user))
    job.refresh_from_db()
    assert job.status == S.STARTING
    assert job.cancel_requested_at is not None


def test_of_two_claims_one_wins(job, node):
    claimed = while_open(lambda: claim_job(job_id=job.pk, node=node), lambda: claim_job(job_id=job.pk, node=node))
    job.refresh_from_db()
    assert claimed is None
    assert job.attempt == 1


def make_stale(job: Job, node: Node) -> None:
    long_ago = timezone.now() - timedelta(hours=1)
    Allocation.objects.filter(pk=job.allocation_id).update(granted_at=long_ago)
    Node.objects.filter(pk=node.pk).update(last_beat_at=long_ago)


def test_a_grant_that_is_being_claimed_is_not_taken_back(job, node):
    make_stale(job, node)
    taken = while_open(lambda: claim_job(job_id=job.pk, node=node), lambda: reclaim_unclaimed(after_seconds=30))
    assert taken == 0
    assert Allocation.objects.get(pk=job.allocation_id).status == Allocation.Status.GRANTED


def test_a_grant_that_is_being_taken_back_is_not_claimed(job, node):
    make_stale(job, node)
    claimed = while_open(lambda: reclaim_unclaimed(after_seconds=30), lambda: claim_job(job_id=job.pk, node=node))
    job.refresh_from_db()
    assert claimed is None
    assert job.status == S.QUEUED
