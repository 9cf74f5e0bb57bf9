"""The home page: what runs, what waits and why, and the next step of a newcomer."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.core.htmx import STOP_POLLING
from apps.datasets.models import Dataset, DatasetVersion
from apps.deployments.models import Deployment, Replica
from apps.jobs.models import Job
from apps.registry.models import ModelVersion, RegisteredModel
from apps.resources.models import Allocation
from apps.resources.nodes import default_pool
from tests.people import Person

LIVE = 'hx-trigger="every 3s"'


def html(person: Person) -> str:
    response = person.page.get("/")
    assert response.status_code == 200
    return response.content.decode()


def poll(person: Person, target: str = "overview"):
    return person.page.get("/", headers={"HX-Request": "true", "HX-Target": target})


def next_step(person: Person) -> str:
    step = next(step for step in person.page.get("/").context["steps"] if step.state == "next")
    return f"{step.action} {step.url}"


@pytest.fixture
def dataset(team) -> Dataset:
    return Dataset.objects.create(team=team, name="Digits")


def make_version(dataset: Dataset, status: str) -> DatasetVersion:
    return DatasetVersion.objects.create(dataset=dataset, number=1, status=status)


def make_model(team) -> ModelVersion:
    model = RegisteredModel.objects.create(team=team, name="digits", task="image_classification")
    return ModelVersion.objects.create(model=model, number=2, metrics={"test": {"accuracy": 0.9763}})


def test_a_newcomer_sees_one_next_step_and_an_example(owner):
    page = html(owner)
    assert "three steps" in page and page.count('aria-current="step"') == 1
    assert next_step(owner) == "Upload data /data/upload/"
    assert "Start from an example" in page and LIVE not in page


def test_a_viewer_is_offered_nothing_that_viewers_may_not_do(viewer):
    page = html(viewer)
    assert "Start from an example" not in page and 'id="step-action"' not in page


def test_the_next_step_follows_what_the_team_has(owner, dataset):
    version = make_version(dataset, DatasetVersion.Status.CHECKING)
    assert next_step(owner) == f"Watch /data/{dataset.pk}/"
    DatasetVersion.objects.update(status=DatasetVersion.Status.NEEDS_REVIEW)
    assert next_step(owner) == f"Review data /data/{dataset.pk}/"
    DatasetVersion.objects.update(status=DatasetVersion.Status.READY)
    assert next_step(owner) == f"Train model /jobs/new/?dataset_version={version.pk}"
    model_version = make_model(owner.team)
    assert next_step(owner) == f"Deploy model /models/{model_version.model_id}/"
    deployment = Deployment.objects.create(team=owner.team, name="digits", version=model_version)
    assert "three steps" not in html(owner)
    Replica.objects.create(deployment=deployment, version=model_version, status=Replica.Status.READY)
    page = html(owner)
    assert "Accuracy" in page and "97.6 %" in page and "Ready" in page


def test_a_waiting_job_says_why_and_a_running_one_how_far(owner, team):
    reason = {"code": "devices_busy", "message": "It asks for 4 devices; 2 free at the moment."}
    allocation = Allocation.objects.create(pool=default_pool(), team=team, devices_asked=4, reason=reason)
    Job.objects.create(team=team, kind=Job.Kind.TRAIN, name="Train slow", allocation=allocation)
    progress = {"fraction": 0.42, "epoch": 5, "epochs": 12, "eta_seconds": 75}
    Job.objects.create(team=team, kind=Job.Kind.TRAIN, name="Train fast", status=Job.Status.RUNNING, progress=progress)
    page = html(owner)
    assert "It asks for 4 devices; 2 free at the moment." in page
    assert all(text in page for text in ("epoch 5 of 12", "42 %", "1 min 15 s left", 'value="0.4200"'))
    assert page.index("Train fast") < page.index("Train slow")
    assert "<title>1 running" in page


def test_the_page_asks_again_while_something_moves_and_is_told_to_stop(owner, team):
    job = Job.objects.create(team=team, kind=Job.Kind.TRAIN, name="Train digits", status=Job.Status.RUNNING)
    assert LIVE in html(owner)
    live = poll(owner)
    assert live.status_code == 200 and LIVE in live.content.decode() and "<html" not in live.content.decode()
    Job.objects.filter(pk=job.pk).update(status=Job.Status.SUCCEEDED, finished_at=timezone.now())
    ended = poll(owner)
    assert ended.status_code == STOP_POLLING and LIVE not in ended.content.decode()
    assert "Succeeded" in ended.content.decode()


def test_a_client_cannot_ask_for_a_part_that_is_not_offered(owner):
    assert "<html" in poll(owner, target="something-else").content.decode()


def test_nothing_of_another_team_is_shown(owner, stranger, dataset):
    make_version(dataset, DatasetVersion.Status.READY)
    make_model(owner.team)
    Job.objects.create(team=owner.team, kind=Job.Kind.TRAIN, name="Train secret", status=Job.Status.RUNNING)
    page = html(stranger)
    assert "Train secret" not in page and "97.6" not in page and "1 running" not in page
    assert next_step(stranger) == "Upload data /data/upload/"


def fill(team, numbers: range) -> None:
    for number in numbers:
        allocation = Allocation.objects.create(pool=default_pool(), team=team)
        Job.objects.create(team=team, kind=Job.Kind.TRAIN, name=f"Train {number}", allocation=allocation)
        model = RegisteredModel.objects.create(team=team, name=f"model {number}", task="image_classification")
        version = ModelVersion.objects.create(model=model, number=1)
        deployment = Deployment.objects.create(team=team, name=f"deployment-{number}", version=version)
        Replica.objects.create(deployment=deployment, version=version)


def queries_of_home(owner: Person) -> int:
    with CaptureQueriesContext(connection) as asked:
        html(owner)
    return len(asked)


def test_many_jobs_cost_no_more_questions_to_the_database_than_few(owner, team):
    fill(team, range(2))
    few = queries_of_home(owner)
    fill(team, range(2, 12))
    assert queries_of_home(owner) <= few


def test_a_new_team_is_offered_examples_until_it_has_something_of_its_own(owner):
    page = owner.page.get("/").content.decode()
    assert "Or start from an example" in page and "Handwritten digits" in page
    Dataset.objects.create(team=owner.team, name="Digits")
    assert "Or start from an example" not in owner.page.get("/").content.decode()
