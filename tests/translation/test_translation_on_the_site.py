"""Translation on the site: the launch form proposes both columns, results stand side by side, the demo translates."""

import json
from collections.abc import Iterator

import pytest
from django.test import Client
from django.urls import reverse

from apps.deployments.models import Deployment
from apps.jobs.models import Job
from apps.jobs.results import read as read_results
from tests.deployments.conftest import store_model
from tests.deployments.serving import served
from tests.inference.processes import serve
from tests.jobs.making import make_node, make_version
from tests.people import Person
from tests.training.here import read
from tests.translation.making import toy
from workers.training.hyperparameters import preset_values

pytestmark = [pytest.mark.django_db, pytest.mark.xdist_group("translation")]

HTMX = {"HX-Request": "true", "HX-Target": "result"}
SIDE = {"median_characters": 30, "longest_characters": 90, "scripts": [["Latin", 1.0]]}
COLUMNS = [
    {"name": "en", "type": "text", "unique": 900},
    {"name": "zh", "type": "text", "unique": 950},
    {"name": "formal", "type": "text", "unique": 950},
    {"name": "topic", "type": "categorical", "unique": 3},
]


@pytest.fixture
def sentences(team):
    pair = {
        "source": SIDE | {"column": "en"},
        "target": SIDE | {"column": "zh", "scripts": [["Han", 0.9], ["Latin", 0.1]]},
    }
    report = {
        "columns": COLUMNS,
        "splits": {"train": 800, "val": 100, "test": 100},
        "pair": pair | {"length_ratio": 0.3},
        "preview": [["Where is it?", "在哪里？", "请问在哪里？", "travel"]],
    }
    return make_version(
        team, "Sentences", kind="table", task="translation", target="zh", report=report, item_count=1000
    )


@pytest.fixture(scope="module")
def socket_path(tmp_path_factory, trained) -> Iterator[str]:
    yield from serve(tmp_path_factory.mktemp("replica"), lambda folder: trained / "model")


@pytest.fixture
def translator(owner: Person, trained, socket_path) -> Deployment:
    return served(owner, store_model(owner, trained / "model", "translator"), socket_path, "translator")


def launch_form(person: Person, **query):
    response = person.page.get("/jobs/new/", query)
    assert response.status_code == 200
    return response.context["form"], response.content.decode()


def test_the_form_proposes_the_task_and_both_columns(member, sentences):
    form, page = launch_form(member, dataset_version=sentences.pk)
    assert (form.task_name, form.target_column, form.text_column_name) == ("translation", "zh", "en")
    assert "Automatic: en" in page and "800 pairs" in page
    values = {name: form[name].value() for name in form.fields} | {"dataset_version": sentences.pk}
    assert member.page.post("/jobs/new/", values).status_code == 302
    job = Job.objects.get()
    assert (job.task, job.target) == ("translation", "zh")
    assert job.hyperparameters == preset_values("translation", "balanced") | {"source_column": "en"}


def test_the_other_direction_and_other_columns_can_be_chosen(member, sentences):
    form, page = launch_form(member, dataset_version=sentences.pk, target="en")
    assert (form.task_name, form.text_column_name) == ("translation", "zh")
    assert "Automatic: zh" in page
    form, _page = launch_form(member, dataset_version=sentences.pk, target="formal")
    assert (form.task_name, form.text_column_name) == ("translation", "")
    assert launch_form(member, dataset_version=sentences.pk, target="topic")[0].task_name == "tabular_classification"


def start(person: Person, **choices) -> tuple[int, dict]:
    body = {"kind": "train", "dataset": "Sentences", **choices}
    response = person.api.post("/api/v1/jobs/", json.dumps(body), content_type="application/json")
    return response.status_code, response.json()


def test_a_program_can_say_both_columns(member, sentences):
    status, job = start(member, target="formal", hyperparameters={"source_column": "zh"}, preset="fast")
    assert (status, job["target"], job["hyperparameters"]["source_column"]) == (201, "formal", "zh")
    status, job = start(member, target="en")
    assert (status, job["hyperparameters"]["source_column"]) == (201, "zh")


@pytest.mark.parametrize(
    ("column", "code"), [("fr", "unknown_source_column"), ("zh", "no_source_column"), (3, "wrong_type")]
)
def test_a_column_that_cannot_be_read_is_refused_beside_its_field(member, sentences, column, code):
    status, body = start(member, hyperparameters={"source_column": column})
    assert (status, body["error"]["code"], body["error"]["field"]) == (422, code, "source_column")
    assert not Job.objects.exists()


def test_translators_are_trained_on_one_device_and_neither_fused_nor_made_smaller(owner, sentences, trained):
    make_node(devices=2)
    status, body = start(owner, devices=2)
    assert (status, body["error"]["code"]) == (422, "too_many_devices")
    version = store_model(owner, trained / "model", "translator")
    page = owner.page.get(reverse("registry:version", args=[version.model_id, 1])).content.decode()
    assert "jobs/fuse" not in page and "/jobs/compress" not in page and "source_pieces" not in page
    assert owner.page.get("/jobs/fuse/", {"model": version.model_id}).status_code == 422


def test_the_page_of_the_data_says_what_both_sides_are_like(member, sentences):
    page = member.page.get(reverse("datasets:detail", args=[sentences.dataset_id])).content.decode()
    assert "Translated from" in page and "Translated into" in page and "Han 90 %, Latin 10 %" in page
    assert "Translations" in member.page.get(reverse("datasets:list")).content.decode()


def test_the_results_stand_beside_doing_without_a_model_and_side_by_side(member, sentences, trained):
    start(member)
    result = read(trained / "result.json")
    Job.objects.update(status=Job.Status.SUCCEEDED, result=result)
    page = member.page.get(reverse("jobs:detail", args=[Job.objects.get().pk])).content.decode()
    assert result["signatures"]["bleu"] in page and "60 of 60 held-out pairs" in page
    shown = read_results(result, {}).translation
    assert [(row.name, row.bleu) for row in shown.rows][0] == ("This model", "100.0")
    assert len(shown.samples) == 24 and not shown.is_beaten and "does better than this model" not in page
    beaten = result | {"baselines": result["baselines"] | {"memory": {"bleu": 101.0, "chrf": 1.0}}}
    assert read_results(beaten, {}).translation.is_beaten
    sample = result["samples"][0]
    assert sample["source"] in page and sample["machine"] in page


def url(deployment: Deployment) -> str:
    return reverse("deployments:demo", args=[deployment.team.slug, deployment.name])


def test_the_demo_shows_the_translation_beside_the_text(owner, translator):
    source, target = toy()[0]
    page = owner.page.get(url(translator)).content.decode()
    assert "The translation appears here." in page
    page = owner.page.post(url(translator), {"text": source}).content.decode()
    assert f"{source}</textarea>" in page and f'dir="auto">{target}</p>' in page
    part = owner.page.post(url(translator), {"text": source}, headers=HTMX).content.decode()
    assert target in part and "<textarea" not in part
    part = owner.page.post(url(translator), {"text": " "}, headers=HTMX).content.decode()
    assert "The translation appears here." in part and "alert" not in part


def test_a_stranger_may_translate_many_short_texts_or_few_long_ones_in_a_minute(translator, monkeypatch):
    """A text of the greatest length keeps the model at work for seconds."""
    outcome = {"outcome": {"translation": "dom", "score": 0.5}, "milliseconds": 3.0}
    monkeypatch.setattr("apps.deployments.demos.texts.ask", lambda *asked: outcome)
    monkeypatch.setattr("apps.deployments.demos.limits.time.time", lambda: 1_200_000.0)
    Deployment.objects.update(is_public=True)
    long, short = {"text": "house " * 3000}, {"text": "house"}
    assert [Client().post(url(translator), long).status_code for _ in range(4)] == [200, 200, 200, 429]
    monkeypatch.setattr("apps.deployments.demos.limits.time.time", lambda: 1_300_000.0)
    assert {Client().post(url(translator), short).status_code for _ in range(20)} == {200}


def test_what_the_model_writes_is_no_markup(owner, translator, monkeypatch):
    outcome = {"outcome": {"translation": "<b>dom</b>", "score": 0.5}, "milliseconds": 3.0}
    monkeypatch.setattr("apps.deployments.demos.texts.ask", lambda *asked: outcome)
    assert "&lt;b&gt;dom&lt;/b&gt;" in owner.page.post(url(translator), {"text": "house"}).content.decode()


def test_the_snippets_send_a_text(owner, translator, trained):
    example = read(trained / "model" / "meta.json")["input"]["examples"][0]
    page = owner.page.get(reverse("deployments:detail", args=[translator.pk]))
    assert json.dumps({"text": example}) in page.context["curl"]
    assert repr(example) in page.context["python"]
