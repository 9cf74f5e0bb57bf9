"""What goes wrong for one team, one job or one pool leaves the turn of all others as it is."""

import pytest

from apps.core.doorbell import answer, ring_once
from apps.datasets.models import Dataset, DatasetVersion
from apps.jobs import tasks
from apps.jobs.models import Job
from apps.resources.models import Allocation, Pool
from apps.resources.nodes import default_pool
from apps.resources.planning import schedule_pool
from apps.resources.quotas import set_quota
from tests.jobs.making import make_node, submit
from tests.people import Person

pytestmark = pytest.mark.django_db


def uploaded(person: Person) -> DatasetVersion:
    dataset = Dataset.objects.create(team=person.team, name="Birds")
    return DatasetVersion.objects.create(dataset=dataset, number=1, created_by=person.user)


def test_data_of_a_team_that_may_use_nothing_is_rejected_with_the_reason_and_others_go_on(member, stranger):
    make_node()
    set_quota(team=stranger.team, pool=default_pool(), resource="memory", user=None, limit=1)
    theirs, ours = uploaded(stranger), uploaded(member)
    tasks.tick()
    theirs.refresh_from_db()
    assert (theirs.status, theirs.error_code) == (DatasetVersion.Status.REJECTED, "exceeds_limit")
    assert Allocation.objects.get(job__dataset_version=ours).status == Allocation.Status.GRANTED


def test_a_pool_that_cannot_be_planned_holds_up_no_other(member, monkeypatch):
    make_node()
    broken = Pool.objects.create(name="broken")
    job = submit(member.team, member.user)

    def plan_or_break(pool: Pool) -> None:
        if pool == broken:
            raise ZeroDivisionError
        schedule_pool(pool)

    monkeypatch.setattr(tasks, "schedule_pool", plan_or_break)
    tasks.tick()
    assert Allocation.objects.get(job=job).status == Allocation.Status.GRANTED


def test_a_machine_that_has_not_told_what_it_has_refuses_nothing(member):
    node = make_node(devices=0)
    type(node).objects.update(memory_bytes=0)
    assert submit(member.team, member.user).status == Job.Status.QUEUED


def test_a_doorbell_that_still_rings_is_not_rung_again(django_capture_on_commit_callbacks, monkeypatch):
    sent: list[str] = []
    monkeypatch.setattr("celery.current_app.send_task", lambda name, **_options: sent.append(name))

    def ring() -> None:
        with django_capture_on_commit_callbacks(execute=True):
            ring_once("apps.jobs.tasks.schedule")

    ring()
    ring()
    assert len(sent) == 1
    answer("apps.jobs.tasks.schedule")
    ring()
    assert len(sent) == 2
