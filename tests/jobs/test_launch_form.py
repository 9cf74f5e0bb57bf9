"""The launch form: submitting at once works, own values are kept, and what is wrong is said beside the field."""

from html import escape

import pytest

from apps.jobs.models import Job
from apps.registry.models import RegisteredModel
from tests.jobs.making import make_node, make_table, make_version, run, submit, succeed
from tests.people import Person
from workers.training.hyperparameters import fields_for, preset_values
from workers.training.presets import PRESETS


@pytest.fixture
def images(team):
    return make_version(team)


@pytest.fixture
def table(team):
    return make_table(team)


def form_of(person: Person, **query):
    response = person.page.get("/jobs/new/", query)
    assert response.status_code == 200
    return response.context["form"]


def filled(person: Person, **query) -> dict[str, str]:
    """What a browser would send if somebody pressed the button at once."""
    form = form_of(person, **query)
    return {name: form[name].value() for name in form.fields} | {"dataset_version": form.version.pk}


def only_job() -> Job:
    return Job.objects.get(kind=Job.Kind.TRAIN)


def test_submitting_at_once_trains_with_the_balanced_preset(member, images):
    response = member.page.post("/jobs/new/", filled(member, dataset_version=images.pk))
    job = only_job()
    assert (response.status_code, response.url) == (302, f"/jobs/{job.pk}/")
    assert (job.preset, job.model_name, job.task) == ("balanced", "Digits", "image_classification")
    assert job.hyperparameters == preset_values("image_classification", "balanced")
    assert (job.created_by, job.team) == (member.user, member.team)


def test_a_form_with_nothing_but_the_version_and_a_name_works_too(member, images):
    member.page.post("/jobs/new/", {"dataset_version": images.pk, "model_name": "mine", "preset": "fast"})
    assert only_job().hyperparameters == preset_values("image_classification", "fast")


@pytest.mark.parametrize("task", ["image_classification", "tabular_classification"])
def test_every_hyperparameter_is_shown_with_its_name_and_help(member, images, table, task):
    version = images if task == "image_classification" else table
    page = member.page.get("/jobs/new/", {"dataset_version": version.pk}).content.decode()
    for field in (field for field in fields_for(task) if field.is_for("") and field.type != "checkpoint"):
        assert f'name="{field.name}"' in page and f'title="{field.name}">{escape(field.label)}<' in page
        assert field.help.replace("'", "&#x27;") in page
    assert all(f'value="{name}"' in page for name in PRESETS)


def test_out_of_range_is_422_keeps_the_input_and_names_the_field(member, images):
    data = filled(member, dataset_version=images.pk) | {"epochs": "0", "learning_rate": "fast", "model_name": "kept"}
    response = member.page.post("/jobs/new/", data)
    form = response.context["form"]
    assert response.status_code == 422
    assert set(form.errors) == {"epochs", "learning_rate"}
    assert "must lie between 1 and 10000" in form.errors["epochs"][0]
    page = response.content.decode()
    assert 'value="0"' in page and 'value="fast"' in page and 'value="kept"' in page
    assert 'aria-describedby="id_epochs_error"' in page and "open>" in page
    assert not Job.objects.exists()


def test_an_own_value_goes_over_the_preset(member, images):
    member.page.post("/jobs/new/", filled(member, dataset_version=images.pk) | {"epochs": "7"})
    job = only_job()
    assert job.hyperparameters == preset_values("image_classification", "balanced") | {"epochs": 7}


def test_another_preset_brings_its_values_and_keeps_own_ones(member, images):
    data = filled(member, dataset_version=images.pk) | {"batch_size": "17", "preset": "accurate"}
    form = form_of(member, **data)
    accurate = preset_values("image_classification", "accurate")
    assert form["epochs"].value() == str(accurate["epochs"]) != data["epochs"]
    assert form["batch_size"].value() == "17" and form.changed_names == ["batch_size"]


def test_another_preset_without_javascript_does_not_send_the_old_ones_values(member, images):
    member.page.post("/jobs/new/", filled(member, dataset_version=images.pk) | {"preset": "fast"})
    assert only_job().hyperparameters == preset_values("image_classification", "fast")


def test_htmx_gets_the_settings_alone_with_the_summary_beside_them(member, images):
    headers = {"HX-Request": "true", "HX-Target": "settings"}
    page = member.page.get("/jobs/new/", {"dataset_version": images.pk}, headers=headers).content.decode()
    assert "<html" not in page and '<div id="settings">' in page
    assert 'id="summary" hx-swap-oob="true"' in page


def test_the_task_follows_from_the_target(member, table):
    assert form_of(member, dataset_version=table.pk).task_name == "tabular_classification"
    assert form_of(member, dataset_version=table.pk, target="age").task_name == "tabular_regression"
    assert form_of(member, dataset_version=table.pk, target="work").task_name == "tabular_classification"
    chosen = form_of(member, dataset_version=table.pk, target="age", task="tabular_classification")
    assert chosen.task_name == "tabular_classification"


def test_a_regression_can_be_sent_from_a_form_that_showed_a_classification(member, table):
    """Without JavaScript the fields on the page are those of the old task: its loss must not be sent along."""
    member.page.post("/jobs/new/", filled(member, dataset_version=table.pk) | {"target": "age"})
    job = only_job()
    assert (job.task, job.target, job.hyperparameters["loss"]) == ("tabular_regression", "age", "mse")


def test_free_text_is_not_offered_as_a_target(member, table):
    choices = [name for name, _label in form_of(member, dataset_version=table.pk).fields["target"].choices]
    assert choices == ["income", "age", "work"]
    data = filled(member, dataset_version=table.pk) | {"target": "notes"}
    assert member.page.post("/jobs/new/", data).status_code == 422


def test_a_name_of_another_task_is_not_proposed_and_is_refused_beside_the_field(member, table, team):
    RegisteredModel.objects.create(team=team, name="Income", task="image_classification")
    assert form_of(member, dataset_version=table.pk)["model_name"].value() == "Income income"
    data = filled(member, dataset_version=table.pk) | {"model_name": "Income"}
    response = member.page.post("/jobs/new/", data)
    assert response.status_code == 409
    assert "Choose another name" in response.context["form"].errors["model_name"][0]


def test_training_again_proposes_the_same_settings_with_the_remedy(member, images, team):
    job = submit(team, member.user, images, preset="fast", hyperparameters={"epochs": 3}, model_name="mine")
    form = form_of(member, clone=job.pk, learning_rate="0.0003")
    values = {name: form[name].value() for name in ("epochs", "learning_rate", "preset", "model_name")}
    assert values == {"epochs": "3", "learning_rate": "0.0003", "preset": "fast", "model_name": "mine"}


def test_the_summary_says_what_where_and_how_long_the_last_one_took(member, images, team, tmp_path):
    node = make_node()
    assert "took" not in member.page.get("/jobs/new/", {"dataset_version": images.pk}).content.decode()
    succeed(run(submit(team, member.user, images), node), tmp_path)
    response = member.page.get("/jobs/new/", {"dataset_version": images.pk})
    assert response.context["next_number"] == 2
    assert response.context["last_seconds"] is not None
    page = response.content.decode()
    assert "144 images" in page and "2 of 2 devices free" in page


def test_without_a_version_ready_data_is_offered(member, images, stranger):
    make_version(member.team, "Not ready", status="needs_review")
    make_version(stranger.team, "Foreign")
    versions = member.page.get("/jobs/new/").context["versions"]
    assert [version.dataset.name for version in versions] == ["Digits"]


def test_data_that_is_not_ready_says_what_to_do(member):
    version = make_version(member.team, "Half", status="needs_review")
    response = member.page.get("/jobs/new/", {"dataset_version": version.pk})
    assert response.status_code == 409 and "leave them out" in response.content.decode()


def test_foreign_and_senseless_versions_are_not_found(member, stranger):
    foreign = make_version(stranger.team)
    for value in (foreign.pk, "999999", "x", "-1"):
        assert member.page.get("/jobs/new/", {"dataset_version": value}).status_code == 404


def test_a_viewer_may_not_train(viewer, images):
    assert viewer.page.get("/jobs/new/", {"dataset_version": images.pk}).status_code == 403
    assert viewer.page.post("/jobs/new/", {"dataset_version": images.pk, "model_name": "x"}).status_code == 403
    assert not Job.objects.exists()
