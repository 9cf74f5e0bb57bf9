"""Data may be deleted once its jobs have ended; what they did stays readable."""

from pathlib import Path

import pytest

from apps.datasets.models import DatasetVersion
from apps.datasets.services import delete_dataset
from apps.jobs.models import Job
from apps.jobs.services import cancel_job, submit_prepare
from tests.jobs.making import fail, make_node, make_version, run, submit, succeed
from tests.people import Person


@pytest.fixture
def version(member: Person) -> DatasetVersion:
    return make_version(member.team)


def check_pages(person: Person, job: Job) -> str:
    """The page of the job after its data was deleted; every other page that shows the job answers too."""
    delete_dataset(dataset=job.dataset_version.dataset)
    for path in ("/", "/jobs/", "/models/", f"/jobs/{job.pk}/"):
        response = person.page.get(path)
        assert response.status_code == 200, path
    return response.content.decode()


def test_a_training_shows_its_results(member, version, tmp_path: Path):
    job = succeed(run(submit(member.team, member.user, version), make_node()), tmp_path)
    page = check_pages(member, job)
    assert "Confusion matrix" in page
    assert f"clone={job.pk}" not in page
    model = f"/models/{job.output_version.model_id}/"
    for path in (model, f"{model}versions/1/"):
        assert member.page.get(path).status_code == 200


def test_a_failed_training_says_why_and_offers_no_repetition(member, version):
    job = fail(run(submit(member.team, member.user, version), make_node()))
    page = check_pages(member, job)
    assert "Training diverged." in page
    assert f"clone={job.pk}" not in page


@pytest.mark.parametrize("end", ["succeeded", "failed", "cancelled"])
def test_a_check_of_data_stays_on_record(member, version, end):
    job = submit_prepare(version=version)
    if end == "cancelled":
        cancel_job(job=job, user=member.user)
    elif end == "failed":
        fail(run(job, make_node()))
    else:
        Job.objects.filter(pk=run(job, make_node()).pk).update(status=end, finished_at=job.created_at)
    job.refresh_from_db()
    page = check_pages(member, job)
    assert "Open the data" not in page


def test_a_number_too_long_for_an_id_is_not_found(member):
    assert member.page.get("/jobs/new/", {"clone": "9" * 5000}).status_code == 404
