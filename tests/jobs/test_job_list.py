"""The list of jobs: filters and order in the address, live while something is active, CSV, few queries."""

import csv

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.core.htmx import STOP_POLLING
from apps.jobs.models import Job
from apps.jobs.services import cancel_job, submit_prepare
from tests.jobs.making import make_node, make_version, run, submit, succeed
from tests.people import Person


@pytest.fixture
def version(team):
    return make_version(team)


def listed(person: Person, query: str = "") -> list[int]:
    response = person.page.get(f"/jobs/{query}")
    assert response.status_code == 200
    return [job.pk for job in response.context["page"]]


def test_a_team_without_jobs_is_taught_what_they_are(member):
    page = member.page.get("/jobs/").content.decode()
    assert "No jobs yet" in page and "/data/upload/" in page


def test_filters_stand_in_the_address(member, owner, version):
    first = submit(member.team, owner.user, version)
    second = submit(member.team, member.user, version)
    check = submit_prepare(version=version)
    cancel_job(job=first, user=owner.user)
    assert listed(member) == [check.pk, second.pk, first.pk]
    assert listed(member, "?status=cancelled") == [first.pk]
    assert listed(member, "?kind=train") == [second.pk, first.pk]
    assert listed(member, "?kind=train&mine=1") == [second.pk]
    assert listed(member, "?status=nonsense&kind=%27") == [check.pk, second.pk, first.pk]


def test_headers_sort_and_unknown_columns_do_not(member, version):
    b, a = (submit(member.team, None, version, model_name=name) for name in ("b", "a"))
    assert listed(member, "?sort=name") == [a.pk, b.pk]
    assert listed(member, "?sort=-name") == [b.pk, a.pk]
    assert listed(member, "?sort=team__name") == [a.pk, b.pk]
    assert 'aria-sort="ascending"' in member.page.get("/jobs/?sort=name").content.decode()


def test_the_list_asks_again_only_while_something_is_active(member, version):
    job = submit(member.team, member.user, version)
    assert 'hx-get="/jobs/?kind=train"' in member.page.get("/jobs/?kind=train").content.decode()
    headers = {"HX-Request": "true", "HX-Target": "job-table"}
    assert member.page.get("/jobs/", headers=headers).status_code == 200
    cancel_job(job=job, user=member.user)
    answer = member.page.get("/jobs/", headers=headers)
    assert answer.status_code == STOP_POLLING
    assert "hx-trigger" not in answer.content.decode() and "<html" not in answer.content.decode()


def test_another_teams_jobs_are_not_listed(member, stranger, version):
    submit(member.team, member.user, version)
    assert listed(stranger) == []
    assert stranger.page.get("/jobs/export.csv").content.decode().count("\n") == 1


def test_the_csv_has_the_filtered_jobs_and_no_formula(member, version):
    job = submit(member.team, member.user, version)
    Job.objects.filter(pk=job.pk).update(name="=1+1")
    gone = submit(member.team, member.user, version)
    cancel_job(job=gone, user=member.user)
    response = member.page.get("/jobs/export.csv?status=queued")
    assert response["Content-Disposition"] == 'attachment; filename="jobs.csv"'
    rows = list(csv.DictReader(response.content.decode().splitlines()))
    assert [(row["id"], row["name"], row["data"]) for row in rows] == [(str(job.pk), "'=1+1", "Digits v1")]


def test_more_jobs_do_not_mean_more_queries(member, version, tmp_path):
    node = make_node()
    succeed(run(submit(member.team, member.user, version), node), tmp_path)

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            member.page.get("/jobs/")
        return len(captured)

    few = queries()
    for _ in range(5):
        submit(member.team, member.user, version)
    assert queries() <= few <= 12


def test_long_lists_have_pages(member, version):
    for _ in range(27):
        submit(member.team, None, version)
    assert len(listed(member)) == 25 and len(listed(member, "?page=2")) == 2
    assert len(listed(member, "?page=99")) == 2
