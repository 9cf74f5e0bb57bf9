"""The demo page: who may see it, and that it answers with and without JavaScript."""

from collections.abc import Iterator

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from apps.deployments.demos.kinds import RATE
from apps.deployments.forms import RowForm
from apps.deployments.models import Deployment, Replica
from apps.registry.models import ModelVersion
from apps.resources.metering import METER
from apps.resources.nodes import default_pool
from apps.resources.quotas import set_quota
from tests.deployments.conftest import store_model
from tests.deployments.serving import served
from tests.inference.models import image_model, png, table_model
from tests.inference.processes import serve
from tests.people import Person

pytestmark = [pytest.mark.django_db, pytest.mark.xdist_group("demo")]

HTMX = {"HX-Request": "true", "HX-Target": "result"}


@pytest.fixture(scope="module")
def image_socket(tmp_path_factory) -> Iterator[str]:
    yield from serve(tmp_path_factory.mktemp("images"), image_model)


@pytest.fixture(scope="module")
def table_socket(tmp_path_factory) -> Iterator[str]:
    yield from serve(tmp_path_factory.mktemp("table"), table_model)


@pytest.fixture
def shades(owner: Person, version, image_socket) -> Deployment:
    return served(owner, version, image_socket)


@pytest.fixture
def ages(owner: Person, tmp_path, table_socket) -> Deployment:
    return served(owner, store_model(owner, table_model(tmp_path / "ages"), "ages"), table_socket, "ages")


@pytest.fixture
def visitor() -> Client:
    """Somebody who is not signed in."""
    return Client()


def url(deployment: Deployment) -> str:
    return reverse("deployments:demo", args=[deployment.team.slug, deployment.name])


def picture(body: bytes) -> dict:
    return {"file": SimpleUploadedFile("a.png", body, "image/png")}


def publish(deployment: Deployment) -> None:
    Deployment.objects.filter(pk=deployment.pk).update(is_public=True)


def test_a_private_demo_is_for_the_team_alone(shades, owner, viewer, stranger, visitor):
    assert owner.page.get(url(shades)).status_code == 200
    assert viewer.page.get(url(shades)).status_code == 200
    for client in (stranger.page, visitor):
        assert client.get(url(shades)).status_code == 404
        assert client.post(url(shades), picture(png())).status_code == 404


def test_a_public_demo_is_for_everybody(shades, stranger, visitor):
    publish(shades)
    assert stranger.page.get(url(shades)).status_code == 200
    assert visitor.get(url(shades)).status_code == 200
    response = visitor.post(url(shades), picture(png(255)))
    assert response.status_code == 200
    assert response.context["outcome"]["class"] == "bright"


def test_a_public_demo_shows_nothing_else_of_the_team(shades, visitor):
    publish(shades)
    page = visitor.get(url(shades)).content.decode()
    assert "/deployments/" not in page
    assert visitor.get(reverse("deployments:detail", args=[shades.pk])).status_code == 302


def test_the_answer_has_a_bar_for_each_class_and_the_picture(shades, owner):
    page = owner.page.post(url(shades), picture(png(0))).content.decode()
    assert "<html" in page
    assert page.count("<progress") == 3  # two classes, and the one that shows that it works
    assert "data:image/png;base64," in page
    assert "Answered in" in page


def test_with_htmx_only_the_answer_comes(shades, owner):
    response = owner.page.post(url(shades), picture(png(0)), headers=HTMX)
    assert response.content.decode().lstrip().startswith('<div id="result"')


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [(b"some text", 422, "undecodable_image"), (png(side=1), 422, "image_too_small"), (b"", 400, "empty_body")],
)
def test_a_bad_picture_is_told_in_place(shades, owner, body, status, code):
    response = owner.page.post(url(shades), picture(body), headers=HTMX)
    assert response.status_code == status
    assert response["HX-Retarget"] == "#result"
    assert f'data-code="{code}"' in response.content.decode()


def test_no_picture_at_all_is_told(shades, owner):
    response = owner.page.post(url(shades), {})
    assert response.status_code == 422
    assert "Choose an image first." in response.content.decode()


def test_a_picture_that_is_too_large_is_refused(shades, owner, settings):
    settings.LEPTON_MAX_PREDICT_BYTES = 1000
    assert owner.page.post(url(shades), picture(b"x" * 100_000)).status_code == 413


def test_the_sample_can_be_tried(shades, owner):
    response = owner.page.post(url(shades), {"sample": "1"})
    assert response.context["outcome"]["class"] == "bright"
    assert "own sample" in response.content.decode()


def test_a_form_is_made_from_the_columns(ages, owner):
    page = owner.page.get(url(ages))
    form = page.context["form"]
    assert [field.label for field in form] == ["age", "city"]
    assert form["column_0"].initial == "40"
    assert ("Oslo", "Oslo") in form.fields["column_1"].choices
    assert "From 20 to 60 in the training data." in page.content.decode()


def test_a_row_is_answered_and_stays_in_the_form(ages, owner):
    response = owner.page.post(url(ages), {"column_0": "57.5", "column_1": "Rome"})
    assert response.context["outcome"]["class"] == "old"
    assert 'value="57.5"' in response.content.decode()


def test_what_is_left_empty_is_unknown_and_not_an_error(ages, owner):
    response = owner.page.post(url(ages), {"column_0": "", "column_1": ""})
    assert response.status_code == 200
    assert response.context["outcome"]["class"] == "old"  # where the model sends rows without an age


def test_the_sample_fills_in_the_form(ages, owner):
    response = owner.page.post(url(ages), {"sample": "1"})
    assert response.context["outcome"]["class"] == "old"
    assert 'value="55"' in response.content.decode()


def test_a_wrong_value_is_told_with_its_column(ages, owner):
    response = owner.page.post(url(ages), {"column_0": "many", "column_1": "Rome"})
    assert response.status_code == 422
    assert "age: Enter a number." in response.content.decode()


def test_a_regression_shows_its_value_of_what_it_is_and_how_far_it_is_usually_off(owner, tmp_path):
    server = serve(tmp_path / "process", lambda folder: table_model(folder, task="tabular_regression"))
    folder = table_model(tmp_path / "model", task="tabular_regression")
    deployment = served(owner, store_model(owner, folder, "value"), next(server), "value")
    response = owner.page.post(url(deployment), {"column_0": "57", "column_1": "Rome"})
    assert '<p class="demo-answer">1</p>' in response.content.decode()
    assert ">group</p>" in response.content.decode() and "Off by" not in response.content.decode()
    ModelVersion.objects.filter(pk=deployment.version_id).update(metrics={"test": {"mae": 0.25411}})
    response = owner.page.post(url(deployment), {"column_0": "57", "column_1": "Rome"})
    assert "Off by 0.2541 on average" in response.content.decode()
    page = owner.page.get(url(deployment)).content.decode()
    assert "Ask about a whole file" in page and "target list" not in page
    assert next(server, None) is None


def test_strangers_have_a_rate_and_members_have_none(shades, owner, visitor, monkeypatch):
    publish(shades)
    monkeypatch.setattr("apps.deployments.demos.limits.time.time", lambda: 1_000_000.0)  # no new minute in between
    for _number in range(RATE):
        assert visitor.post(url(shades), {"sample": "1"}).status_code == 200
    refused = visitor.post(url(shades), {"sample": "1"})
    assert refused.status_code == 429
    assert "Wait a moment" in refused.content.decode()
    assert owner.page.post(url(shades), {"sample": "1"}).status_code == 200


def test_a_deployment_that_starts_says_so(shades, owner):
    shades.replicas.update(status=Replica.Status.STARTING)
    assert "The model is starting." in owner.page.get(url(shades)).content.decode()
    assert owner.page.post(url(shades), {"sample": "1"}).status_code == 503


def test_forged_forms_are_refused(shades):
    publish(shades)
    assert Client(enforce_csrf_checks=True).post(url(shades), {"sample": "1"}).status_code == 403


@pytest.mark.parametrize(("value", "shown"), [("yes", "true"), ("0", "false"), (True, "true"), (None, ""), ("?", "")])
def test_yes_and_no_are_shown_however_the_data_wrote_them(value, shown):
    columns = [{"name": "smoker", "type": "boolean", "default": False}]
    assert RowForm.example(columns, {"smoker": value}) == {"column_0": shown}


def test_answers_count_for_the_team_whoever_asks(shades, visitor):
    publish(shades)
    METER.take()
    answer = visitor.post(url(shades), {"sample": "1"})
    assert METER.take() == {(shades.team_id, "prediction"): len(answer.content)}
    visitor.get(url(shades))
    assert not METER.take()


def test_a_team_that_has_sent_its_quota_answers_no_more(shades, visitor):
    publish(shades)
    set_quota(team=shades.team, pool=default_pool(), resource="egress", limit=0, user=None)
    refused = visitor.post(url(shades), {"sample": "1"})
    page = refused.content.decode()
    assert refused.status_code == 403 and "as much as it may this month" in page
    assert "0 B" not in page, "the team's numbers are its own"


def test_a_page_that_can_look_but_one_way_still_gets_a_notice(owner, tmp_path):
    version = store_model(owner, table_model(tmp_path / "model", task="tabular_regression"), "value")
    value = Deployment.objects.create(team=owner.team, version=version, name="value")
    change = reverse("deployments:demo_page", args=[value.pk])
    form = owner.page.get(change).content.decode()
    assert 'name="notice"' in form and 'name="page"' not in form and 'name="greeting"' not in form
    owner.page.post(change, {"notice": "It may be wrong."})
    assert "It may be wrong." in owner.page.get(url(value)).content.decode()
