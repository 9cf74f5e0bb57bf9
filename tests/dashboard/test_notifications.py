"""The bell says what has happened since a person looked: the ends of their jobs, and what the site did by itself."""

from datetime import timedelta

import pytest
from django.utils import timezone

from apps.core.htmx import STOP_POLLING
from apps.dashboard import news
from apps.deployments.models import Deployment, TrafficChange
from apps.jobs.models import Job
from apps.jobs.services import cancel_job
from apps.registry.models import ModelVersion, RegisteredModel
from tests.jobs.making import fail, make_node, make_version, run, submit, succeed

HTMX = {"HX-Request": "true", "HX-Target": "bell"}


@pytest.fixture
def job(member) -> Job:
    return submit(member.team, member.user, make_version(member.team, size_bytes=1000), model_name="lungs")


def membership_of(person):
    return person.user.memberships.get(team=person.team)


def told(person) -> list[tuple[str, str]]:
    return [(item.title, item.status) for item in news.news_for(membership_of(person))]


def test_the_end_of_ones_job_is_told_once(member, job, tmp_path):
    assert told(member) == [] and news.count_new(membership_of(member)) == 0
    succeed(run(job, make_node()), tmp_path)
    assert "1 new notification" in member.page.get("/").content.decode()
    page = member.page.get("/notifications/").content.decode()
    assert job.name in page and "is-new" in page and f"/jobs/{job.pk}/" in page
    assert "1 new notification" not in page
    assert news.count_new(membership_of(member)) == 0
    again = member.page.get("/notifications/").content.decode()
    assert job.name in again and "is-new" not in again


def test_a_failure_says_why(member, job):
    fail(run(job, make_node()), message="It ran out of memory.")
    assert told(member) == [(str(job), "failed")]
    assert "It ran out of memory." in member.page.get("/notifications/").content.decode()


def test_the_jobs_of_others_and_other_teams_are_not_told(member, viewer, stranger, job):
    cancel_job(job=job, user=member.user)
    assert told(member) and not told(viewer) and not told(stranger)


def test_what_is_older_than_thirty_days_is_forgotten(member, job):
    cancel_job(job=job, user=member.user)
    Job.objects.update(finished_at=timezone.now() - timedelta(days=31))
    assert told(member) == []


def test_a_trial_that_the_site_stopped_is_told_to_the_whole_team(member, viewer, stranger):
    model = RegisteredModel.objects.create(team=member.team, name="lungs", task="image_classification")
    version = ModelVersion.objects.create(model=model, number=1)
    deployment = Deployment.objects.create(team=member.team, name="lungs", version=version)
    for kind in (TrafficChange.Kind.STOPPED, TrafficChange.Kind.PROMOTED):
        TrafficChange.objects.create(deployment=deployment, kind=kind, shares=[], reason="9 % errors")
    for person in (member, viewer):
        assert told(person) == [("lungs", "failed")] and news.count_new(membership_of(person)) == 1
    assert "9 % errors" in member.page.get("/notifications/").content.decode()
    assert not told(stranger)


def test_the_bell_asks_again_only_while_something_may_come(member, job):
    assert 'hx-trigger="every 20s"' in member.page.get("/notifications/bell/", headers=HTMX).content.decode()
    cancel_job(job=job, user=member.user)
    answered = member.page.get("/notifications/bell/", headers=HTMX)
    assert answered.status_code == STOP_POLLING
    assert "hx-trigger" not in answered.content.decode() and ">1<" in answered.content.decode()


def test_the_count_ends_somewhere(member, job):
    cancel_job(job=job, user=member.user)
    old = Job.objects.get(pk=job.pk)
    Job.objects.bulk_create(
        Job(
            team=old.team,
            created_by=old.created_by,
            kind=old.kind,
            name="x",
            status=old.status,
            finished_at=timezone.now(),
        )
        for _number in range(120)
    )
    assert news.count_new(membership_of(member)) == news.MOST_COUNTED
    assert "99+" in member.page.get("/").content.decode()
    assert len(told(member)) == news.MOST
