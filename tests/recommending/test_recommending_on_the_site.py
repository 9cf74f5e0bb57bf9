"""Recommending on the site: the form proposes task and columns, the demo recommends, a downloaded model does alone."""

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator

import pytest
from django.test import Client
from django.urls import reverse

from apps.deployments import snippets
from apps.deployments.models import Deployment
from apps.jobs.models import Job
from apps.jobs.results import read as read_results
from tests.deployments.conftest import store_model
from tests.deployments.serving import served
from tests.inference.processes import serve
from tests.jobs.making import make_node, make_version
from tests.people import Person
from tests.recommending.making import RATED, TAKEN, events, ratings, train_here, write_data
from tests.training.here import read
from workers.training.hyperparameters import preset_values

pytestmark = [pytest.mark.django_db, pytest.mark.xdist_group("recommending")]

TASK = "recommendation"
HTMX = {"HX-Request": "true", "HX-Target": "result"}
ROLES = {"user": "user_id", "item": "movie_id", "rating": "rating", "time": "timestamp", "name": "title"}
FACTS = {"users": 60, "items": 50, "pairs": 1500, "density": 0.5, "median_of_a_user": 25, "median_of_an_item": 30}


@pytest.fixture
def films(team):
    report = {
        "columns": [{"name": name, "type": "categorical", "unique": 50} for name in RATED],
        "splits": {"train": 1200, "val": 150, "test": 150},
        "interactions": ROLES | FACTS | {"popular_share": 0.1},
        "preview": [list(row) for row in ratings()[:3]],
    }
    return make_version(team, "Films", kind="table", task=TASK, target="rating", report=report)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    data = write_data(tmp_path_factory.mktemp("data"), RATED, ratings())
    return train_here(tmp_path_factory.mktemp("work"), data, model="factors")


@pytest.fixture(scope="module")
def socket_path(tmp_path_factory, trained) -> Iterator[str]:
    yield from serve(tmp_path_factory.mktemp("replica"), lambda folder: trained / "model")


@pytest.fixture
def cinema(owner: Person, trained, socket_path) -> Deployment:
    return served(owner, store_model(owner, trained / "model", "films"), socket_path, "films")


def launch_form(person: Person, **query):
    response = person.page.get("/jobs/new/", query)
    assert response.status_code == 200
    return response.context["form"], response.content.decode()


def test_the_form_proposes_the_task_and_the_columns(member, films):
    form, page = launch_form(member, dataset_version=films.pk)
    assert form.task_name == TASK
    for column in ROLES.values():
        assert f"Automatic: {column}" in page
    values = {name: form[name].value() for name in form.fields} | {"dataset_version": films.pk}
    assert member.page.post("/jobs/new/", values).status_code == 302
    job = Job.objects.get()
    assert (job.task, job.target) == (TASK, "rating")
    chosen = {f"{role}_column": column for role, column in ROLES.items()}
    assert job.hyperparameters == preset_values(TASK, "balanced") | chosen


def test_ratings_and_times_can_be_left_out_in_the_form(member, films):
    form, page = launch_form(member, dataset_version=films.pk, rating_column="-", time_column="-")
    values = {name: form[name].value() for name in form.fields} | {"dataset_version": films.pk}
    member.page.post("/jobs/new/", values)
    job = Job.objects.get()
    assert job.target == "movie_id"
    assert (job.hyperparameters["rating_column"], job.hyperparameters["time_column"]) == ("-", "-")


def test_the_same_table_can_be_trained_on_as_a_table(member, films):
    form, page = launch_form(member, dataset_version=films.pk, task="tabular_regression")
    assert form.task_name == "tabular_regression" and not form.role_fields
    assert 'name="target"' in page and "user_column" not in page


def start(person: Person, **choices) -> tuple[int, dict]:
    body = {"kind": "train", "dataset": "Films", **choices}
    response = person.api.post("/api/v1/jobs/", json.dumps(body), content_type="application/json")
    return response.status_code, response.json()


def test_the_two_towers_are_chosen_by_name_in_the_form_and_by_rest(member, films):
    form, page = launch_form(member, dataset_version=films.pk)
    assert 'value="two_tower"' in page and "needs users with several items each" in page
    status, job = start(member, hyperparameters={"model": "two_tower"})
    assert (status, job["hyperparameters"]["model"]) == (201, "two_tower")
    status, body = start(member, hyperparameters={"model": "three_tower"})
    assert (status, body["error"]["field"]) == (422, "model") and "two_tower" in json.dumps(body["error"])


@pytest.mark.parametrize(
    ("columns", "code", "field"),
    [
        ({"item_column": "film"}, "unknown_item_column", "item_column"),
        ({"item_column": "user_id"}, "same_column_twice", "user_column"),
        ({"user_column": "-"}, "no_user_column", "user_column"),
        ({"time_column": 3}, "wrong_type", "time_column"),
    ],
)
def test_a_column_that_cannot_be_read_is_refused_beside_its_field(member, films, columns, code, field):
    status, body = start(member, hyperparameters=columns)
    assert (status, body["error"]["code"], body["error"]["field"]) == (422, code, field)
    assert not Job.objects.exists()


def test_a_table_whose_columns_say_nothing_can_be_told_by_hand(member, team):
    report = {"columns": [{"name": name, "type": "categorical", "unique": 9} for name in ("who", "what", "class")]}
    make_version(team, "Films", kind="table", task="tabular_classification", target="class", report=report)
    status, body = start(member, task=TASK)
    assert (status, body["error"]["code"]) == (422, "no_user_column")
    status, job = start(member, task=TASK, hyperparameters={"user_column": "who", "item_column": "what"})
    assert (status, job["target"], job["hyperparameters"]["rating_column"]) == (201, "what", "-")


def test_it_is_trained_on_one_device_and_neither_fused_nor_compressed(member, owner, films, trained):
    make_node(devices=2)
    status, body = start(member, devices=2)
    assert (status, body["error"]["code"]) == (422, "too_many_devices")
    version = store_model(owner, trained / "model", "films")
    assert "jobs/fuse" not in owner.page.get(reverse("registry:detail", args=[version.model_id])).content.decode()
    assert owner.page.get("/jobs/fuse/", {"model": version.model_id}).status_code == 422
    page = owner.page.get(reverse("registry:version", args=[version.model_id, version.number])).content.decode()
    assert "jobs/compress" not in page and "60 users, 50 items" in page


def test_the_figures_stand_beside_those_of_the_baseline(trained):
    found = read_results(read(trained / "result.json"), {})
    labels = [item.label for item in found.test]
    assert labels[0] == "NDCG@10" and "Root mean squared error" in labels
    assert all(item.baseline for item in found.test + found.validation)
    assert any(item.text != item.baseline for item in found.test)
    assert {item.figure.label for item in found.leaderboard} == {"NDCG@10", "Root mean squared error"}


def test_the_page_of_the_data_says_who_took_how_much(member, films):
    page = member.page.get(reverse("datasets:detail", args=[films.dataset_id])).content.decode()
    assert "Interactions" in member.page.get("/data/").content.decode()
    assert "Known pairs" in page and "25 rows" in page
    assert "The last items of each user are for the test" in page


def url(deployment: Deployment) -> str:
    return reverse("deployments:demo", args=[deployment.team.slug, deployment.name])


def test_the_demo_recommends_to_somebody_who_says_what_they_like(owner, cinema):
    page = owner.page.get(url(cinema)).content.decode()
    liked = cinema.version.meta["input"]["popular"][:2]
    assert all(item["name"] in page for item in liked)
    chosen = [item["item"] for item in liked]
    done = owner.page.post(url(cinema), {"items": chosen})
    found = done.context["outcome"]["items"]
    assert len(found) == 10 and not {item["item"] for item in found} & set(chosen)
    assert done.content.decode().count("checked") == 2
    part = owner.page.post(url(cinema), {"items": chosen}, headers=HTMX).content.decode()
    assert 'id="result"' in part and found[0]["name"] in part and "checkbox" not in part


def test_the_demo_recommends_to_a_user_of_the_data_and_to_one_it_does_not_know(owner, cinema):
    seen = {row[1] for row in ratings() if row[0] == "u7"}
    page = owner.page.post(url(cinema), {"user": "u7"})
    found = {item["item"] for item in page.context["outcome"]["items"]}
    assert found and not found & seen and page.context["outcome"]["based_on"] == "history"
    stranger = owner.page.post(url(cinema), {"user": "<nobody>"})
    assert stranger.context["outcome"]["based_on"] == "popularity"
    assert "Nothing is known of &lt;nobody&gt;" in stranger.content.decode()


def test_asking_for_nothing_says_what_to_do(owner, cinema):
    page = owner.page.post(url(cinema), {"user": " "})
    assert page.status_code == 422 and "Choose something first" in page.content.decode()


def test_only_the_team_sees_users_of_its_data(owner, cinema):
    Deployment.objects.update(is_public=True)
    example = f'value="{cinema.version.meta["input"]["examples"][0]}"'
    assert example in owner.page.get(url(cinema)).content.decode()
    stranger = Client().get(url(cinema))
    assert stranger.status_code == 200 and example not in stranger.content.decode()


def test_a_stranger_of_a_public_demo_may_ask_by_items_and_not_for_a_user(owner, cinema):
    """What is recommended to u1, u2, u3 and so on tells what they took."""
    Deployment.objects.update(is_public=True)
    assert 'name="user"' in owner.page.get(url(cinema)).content.decode()
    assert 'name="user"' not in Client().get(url(cinema)).content.decode()
    asked = Client().post(url(cinema), {"user": "u7"}, headers=HTMX)
    assert asked.status_code == 403 and "Only the team may ask" in asked.content.decode()
    assert "outcome" not in asked.context
    chosen = [item["item"] for item in cinema.version.meta["input"]["popular"][:2]]
    assert len(Client().post(url(cinema), {"items": chosen}).context["outcome"]["items"]) == 10


def test_the_snippets_send_a_user(owner, cinema):
    example = cinema.version.meta["input"]["examples"][0]
    page = owner.page.get(reverse("deployments:detail", args=[cinema.pk]))
    assert json.dumps({"user": example}) in page.context["curl"]
    assert f"predict(user={example!r})" in snippets.python(cinema, "http://testserver", example)


def test_a_downloaded_model_recommends_alone(owner, trained, tmp_path):
    version = store_model(owner, trained / "model", "films")
    address = reverse("registry:bundle", args=[version.model_id, version.number])
    body = b"".join(owner.page.get(address).streaming_content)
    zipfile.ZipFile(io.BytesIO(body)).extractall(tmp_path / "home")
    (tmp_path / "users.txt").write_text("u7\nu8\n")
    command = [sys.executable, str(tmp_path / "home" / "predict.py"), "--check", str(tmp_path / "users.txt")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said, first, _second = done.stdout.splitlines()
    assert "as it did when it was made" in said and len(json.loads(first)["items"]) == 10
    assert "python predict.py users.txt" in (tmp_path / "home" / "README.md").read_text()


def test_events_make_a_model_without_ratings(owner, tmp_path):
    data = write_data(tmp_path / "data", TAKEN, events(users=30))
    output = train_here(tmp_path / "work", data, model="item_weights")
    version = store_model(owner, output / "model", "things")
    page = owner.page.get(reverse("registry:version", args=[version.model_id, version.number])).content.decode()
    assert "30 users, 63 items" in page
