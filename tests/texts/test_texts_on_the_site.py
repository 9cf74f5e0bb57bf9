"""Texts on the site: the launch form proposes the task and the column, programs can overrule it, the demo answers."""

import json

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import translation

from apps.datasets.preview import scripts_of
from apps.deployments import snippets
from apps.deployments.demos.texts import RATE
from apps.deployments.models import Deployment
from apps.jobs.models import Job
from tests.deployments.conftest import store_model
from tests.jobs.making import make_node, make_version
from tests.people import Person
from tests.training.here import read
from workers.training.hyperparameters import preset_values

pytestmark = [pytest.mark.django_db, pytest.mark.xdist_group("texts")]

TASK = "text_classification"
HTMX = {"HX-Request": "true", "HX-Target": "result"}
COLUMNS = [
    {"name": "subject", "type": "text", "unique": 700},
    {"name": "message", "type": "text", "unique": 900},
    {"name": "topic", "type": "categorical", "unique": 3},
    {"name": "urgent", "type": "boolean", "unique": 2},
    {"name": "stars", "type": "numeric", "unique": 90, "min": 0.0, "max": 9.0, "mean": 4.5},
]


@pytest.fixture
def messages(team):
    report = {
        "columns": COLUMNS,
        "splits": {"train": 800, "val": 100, "test": 100},
        "text": {"column": "message", "median_characters": 40, "longest_characters": 90, "scripts": [["Latin", 1.0]]},
        "preview": [["parcel", "where is my parcel", "delivery", "no", "4"]],
    }
    return make_version(team, "Messages", kind="table", task=TASK, target="topic", report=report)


def launch_form(person: Person, **query):
    response = person.page.get("/jobs/new/", query)
    assert response.status_code == 200
    return response.context["form"], response.content.decode()


def test_the_form_proposes_the_task_and_the_column_of_texts(member, messages):
    form, page = launch_form(member, dataset_version=messages.pk)
    assert form.task_name == TASK
    assert "Automatic: message" in page and "800 texts" in page
    values = {name: form[name].value() for name in form.fields} | {"dataset_version": messages.pk}
    assert member.page.post("/jobs/new/", values).status_code == 302
    job = Job.objects.get()
    assert (job.task, job.target) == (TASK, "topic")
    assert job.hyperparameters == preset_values(TASK, "balanced") | {"text_column": "message"}


def test_another_column_can_be_chosen_in_the_form(member, messages):
    form, page = launch_form(member, dataset_version=messages.pk, text_column="subject")
    assert [value for value, _label in form.fields["text_column"].widget.choices] == ["", "subject"]
    assert "<dd>subject</dd>" in page
    values = {name: form[name].value() for name in form.fields} | {"dataset_version": messages.pk}
    member.page.post("/jobs/new/", values)
    assert Job.objects.get().hyperparameters["text_column"] == "subject"


def test_the_same_table_can_be_trained_on_as_a_table(member, messages):
    form, page = launch_form(member, dataset_version=messages.pk, task="tabular_classification")
    assert form.task_name == "tabular_classification" and "text_column" not in form.fields
    assert launch_form(member, dataset_version=messages.pk, target="stars")[0].task_name == "tabular_regression"
    assert launch_form(member, dataset_version=messages.pk, target="urgent")[0].task_name == TASK


def start(person: Person, **choices) -> tuple[int, dict]:
    body = {"kind": "train", "dataset": "Messages", **choices}
    response = person.api.post("/api/v1/jobs/", json.dumps(body), content_type="application/json")
    return response.status_code, response.json()


def test_a_program_can_say_which_column_holds_the_texts(member, messages):
    status, job = start(member, hyperparameters={"text_column": "subject"}, preset="fast")
    assert (status, job["task"], job["hyperparameters"]["text_column"]) == (201, TASK, "subject")


@pytest.mark.parametrize(
    ("column", "code"), [("body", "unknown_text_column"), ("topic", "no_text_column"), (3, "wrong_type")]
)
def test_a_column_that_cannot_be_read_is_refused_beside_its_field(member, messages, column, code):
    status, body = start(member, hyperparameters={"text_column": column})
    assert (status, body["error"]["code"], body["error"]["field"]) == (422, code, "text_column")
    assert not Job.objects.exists()


def test_texts_are_trained_on_one_device_and_not_fused(member, owner, messages, served_model):
    make_node(devices=2)
    status, body = start(member, devices=2)
    assert (status, body["error"]["code"]) == (422, "too_many_devices")
    version = store_model(owner, served_model, "topics")
    page = owner.page.get(reverse("registry:detail", args=[version.model_id])).content.decode()
    assert "jobs/fuse" not in page
    assert owner.page.get("/jobs/fuse/", {"model": version.model_id}).status_code == 422


def test_the_page_of_the_data_says_what_the_texts_are_like(member, messages):
    page = member.page.get(reverse("datasets:detail", args=[messages.dataset_id])).content.decode()
    assert "Column of texts" in page and "40 characters" in page and "Latin" in page
    with translation.override("zh-hans"):
        assert scripts_of({"text": {"scripts": [["Han", 0.9], ["Latin", 0.1]]}}) == "汉字 90 %, 拉丁字母 10 %"


def url(deployment: Deployment) -> str:
    return reverse("deployments:demo", args=[deployment.team.slug, deployment.name])


def test_the_demo_answers_with_and_without_javascript_and_keeps_the_text(owner, topics):
    text = "where is my <b>sofa</b>"
    page = owner.page.post(url(topics), {"text": text})
    assert page.context["outcome"]["class"] == "delivery"
    assert "where is my &lt;b&gt;sofa&lt;/b&gt;</textarea>" in page.content.decode()
    part = owner.page.post(url(topics), {"text": text}, headers=HTMX).content.decode()
    assert 'id="result"' in part and "<textarea" not in part and "delivery" in part


def test_a_text_that_was_deleted_again_is_no_error(owner, topics):
    part = owner.page.post(url(topics), {"text": " "}, headers=HTMX)
    assert part.status_code == 200 and "alert" not in part.content.decode()
    page = owner.page.post(url(topics), {"text": " "})
    assert page.status_code == 400 and "no body" in page.content.decode()


def test_only_the_team_sees_texts_of_its_data(owner, topics):
    Deployment.objects.update(is_public=True)
    (example, *_others) = topics.version.meta["input"]["examples"]
    assert example in owner.page.get(url(topics)).content.decode()
    stranger = Client().get(url(topics))
    assert stranger.status_code == 200 and example not in stranger.content.decode()
    assert Client().post(url(topics), {"text": "i want my money back"}).context["outcome"]["class"] == "refund"


def test_a_stranger_may_rest_often_while_writing_but_not_for_ever(topics, monkeypatch):
    monkeypatch.setattr("apps.deployments.demos.limits.time.time", lambda: 1_000_000.0)  # no new minute in between
    Deployment.objects.update(is_public=True)
    codes = [Client().post(url(topics), {"text": "a"}, headers=HTMX).status_code for _ in range(RATE + 1)]
    assert codes[:-1] == [200] * RATE
    assert codes[-1] == 429


def test_the_snippets_send_a_text(owner, topics, served_model):
    example = read(served_model / "meta.json")["input"]["examples"][0]
    page = owner.page.get(reverse("deployments:detail", args=[topics.pk]))
    assert json.dumps({"text": example}) in page.context["curl"]
    assert page.context["python"] == snippets.python(topics, "http://testserver", example)
    assert repr(example) in page.context["python"]
