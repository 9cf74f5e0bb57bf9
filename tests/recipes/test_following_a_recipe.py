"""Start from an example: one click uploads, trains and deploys, and says where it stands and why it stopped."""

import pytest

from apps.datasets.models import Dataset, DatasetVersion
from apps.deployments.models import Deployment, Replica
from apps.deployments.placing import reconcile_one
from apps.jobs.models import Job
from apps.recipes import services
from apps.recipes.catalogue import find_recipe
from apps.recipes.models import RecipeRun
from apps.recipes.services import start_recipe
from apps.recipes.tasks import advance_runs
from apps.registry.models import ModelVersion, RegisteredModel
from tests.jobs.making import make_node
from tests.people import Person

S = RecipeRun.Stage
pytestmark = pytest.mark.django_db
REPORT = {
    "columns": [
        {"name": "text", "type": "text", "unique": 400},
        {"name": "intent", "type": "categorical", "unique": 12},
    ],
    "splits": {"train": 350, "val": 45, "test": 45},
    "text": {"column": "text"},
}
DATA = {"status": "ready", "kind": "table", "task": "text_classification", "target": "intent", "report": REPORT}


def start(person: Person, slug: str = "customer-service") -> RecipeRun:
    response = person.page.post(f"/recipes/{slug}/start/")
    assert response.status_code == 302, response.content
    return RecipeRun.objects.filter(team=person.team).first()


def check_data(run: RecipeRun, **changes) -> RecipeRun:
    DatasetVersion.objects.filter(pk=run.dataset_version_id).update(**DATA | changes)
    return moved(run)


def train(run: RecipeRun) -> RecipeRun:
    model, _is_new = RegisteredModel.objects.get_or_create(
        team=run.team, name=run.job.model_name, defaults={"task": run.job.task}
    )
    version = ModelVersion.objects.create(model=model, number=model.versions.count() + 1, meta={"classes": ["a"]})
    version.artifacts.create(name="meta.json", sha256="ab" * 32, size_bytes=2)
    Job.objects.filter(pk=run.job_id).update(status="succeeded", output_version=version)
    return moved(run)


def serve(run: RecipeRun) -> RecipeRun:
    reconcile_one(run.deployment_id)
    Replica.objects.filter(deployment=run.deployment).update(status=Replica.Status.READY)
    return moved(run)


def moved(run: RecipeRun) -> RecipeRun:
    advance_runs()
    run.refresh_from_db()
    return run


@pytest.fixture(autouse=True)
def _storage(settings, tmp_path):
    settings.LEPTON_HOME, settings.LEPTON_STORAGE_URL = tmp_path / "home", f"file://{tmp_path}/storage"
    settings.LEPTON_HOME.mkdir()
    make_node()


def page_of(person: Person, slug: str = "customer-service") -> str:
    return person.page.get(f"/recipes/{slug}/").content.decode()


def test_a_recipe_calls_its_settings_as_the_form_does(member):
    page = member.page.get("/recipes/demand-forecast/").content.decode()
    assert '<dt title="known_columns">Known beforehand</dt><dd>offer</dd>' in page


def test_one_click_leads_from_the_data_to_a_page_to_try(member):
    run = start(member)
    assert run.stage == S.CHECKING and 'hx-trigger="every 2s"' in page_of(member)
    assert moved(run).stage == S.CHECKING, "it waits for the check"
    assert check_data(run).stage == S.TRAINING
    assert (run.job.task, run.job.target, run.job.preset) == ("text_classification", "intent", "balanced")
    assert moved(run).stage == S.TRAINING, "and for the training"
    assert train(run).stage == S.DEPLOYING
    assert run.deployment.page == "chat" and run.deployment.page_settings["answers"]["refund"]
    assert serve(run).stage == S.DONE
    page = page_of(member)
    assert f"/demo/{member.team.slug}/customer-service/" in page and "every 2s" not in page


def test_pressed_twice_it_is_one_run_and_done_again_it_trains_anew_for_the_same_address(member):
    run = start(member)
    assert start(member).pk == run.pk
    serve(train(check_data(run)))
    again = check_data(start(member))
    assert again.pk != run.pk and again.dataset_version_id == run.dataset_version_id
    train(again)
    assert again.deployment_id == run.deployment_id and Deployment.objects.get().version.number == 2
    assert Dataset.objects.count() == 1


def test_a_name_that_is_taken_is_given_a_number(member):
    Dataset.objects.create(team=member.team, name="Customer messages")
    assert start(member).dataset_version.dataset.name == "Customer messages 2"


@pytest.mark.parametrize("status", ["rejected", "needs_review"])
def test_data_that_is_not_accepted_ends_it_with_a_reason(member, status):
    assert check_data(start(member), status=status).stage == S.FAILED
    assert "Its page says why" in page_of(member) and "Do it again" in page_of(member)


def test_a_training_that_fails_or_a_name_of_another_task_ends_it_with_a_reason(member):
    run = check_data(start(member))
    Job.objects.filter(pk=run.job_id).update(status="failed")
    assert moved(run).stage == S.FAILED and "training did not succeed" in run.error
    RegisteredModel.objects.create(team=member.team, name="customer-service", task="image_classification")
    again = moved(start(member))
    assert again.stage == S.FAILED and "customer-service" in again.error and again.job is None


def test_a_run_that_breaks_holds_up_no_other(member, stranger, monkeypatch):
    broken, sound = start(member), start(stranger)
    check = services.STEPS[S.CHECKING]

    def check_or_break(run: RecipeRun) -> None:
        if run.pk == broken.pk:
            raise ZeroDivisionError
        check(run)

    monkeypatch.setitem(services.STEPS, S.CHECKING, check_or_break)
    DatasetVersion.objects.filter(pk__in=(broken.dataset_version_id, sound.dataset_version_id)).update(**DATA)
    assert moved(sound).stage == S.TRAINING and moved(broken).stage == S.CHECKING


def test_what_was_deleted_on_the_way_ends_it(member):
    run = start(member)
    RecipeRun.objects.filter(pk=run.pk).update(dataset_version=None)
    assert moved(run).stage == S.FAILED and "deleted" in run.error


def test_the_data_can_be_taken_alone(member):
    response = member.page.post("/recipes/customer-service/data/")
    assert response.url == f"/data/{Dataset.objects.get().pk}/"
    assert not RecipeRun.objects.exists()
    assert member.page.post("/recipes/customer-service/data/").url == response.url


def test_viewers_look_and_strangers_see_their_own_runs_alone(member, viewer, stranger):
    run = start(member)
    assert viewer.page.post("/recipes/customer-service/start/").status_code == 403
    assert viewer.page.post("/recipes/customer-service/data/").status_code == 403
    assert "Do it" not in page_of(viewer) and "Checking the data" in page_of(viewer)
    assert "Checking the data" not in page_of(stranger)
    assert stranger.api.get(f"/api/v1/recipe-runs/{run.pk}/").status_code == 404
    assert stranger.page.get("/recipes/nothing/").status_code == 404
    assert stranger.page.get("/recipes/..%2Fsettings/").status_code == 404


def test_a_viewer_is_told_why_there_is_nothing_to_press(member, viewer):
    page = page_of(viewer)
    assert (
        "Viewers can look but not start it" in page
        and "<button" not in page[page.index('id="run"') :].split("</section>")[0]
    )
    assert "Viewers can look" not in page_of(member)


def test_programs_start_one_and_ask_how_far_it_is(member, viewer):
    listed = member.api.get("/api/v1/recipes/").json()
    assert "customer-service" in [item["slug"] for item in listed]
    begun = member.api.post("/api/v1/recipes/customer-service/runs/")
    assert begun.status_code == 201 and begun.json()["stage"] == "checking"
    assert viewer.api.post("/api/v1/recipes/customer-service/runs/").status_code == 403
    serve(train(check_data(RecipeRun.objects.get())))
    told = member.api.get(f"/api/v1/recipe-runs/{begun.json()['id']}/").json()
    assert (told["stage"], told["deployment_name"]) == ("done", "customer-service")


def test_two_beats_at_once_take_one_step(member):
    run = check_data(start(member))
    advance_runs()
    assert Job.objects.filter(kind=Job.Kind.TRAIN).count() == 1
    assert start_recipe(team=member.team, user=member.user, recipe=find_recipe("customer-service")).pk == run.pk
