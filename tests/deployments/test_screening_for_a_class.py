"""A deployment looks for one class at a threshold: its page and its answers say whether that is reached, and how often
that is right."""

import html
import json
from collections.abc import Iterator

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from apps.deployments.models import Deployment
from apps.jobs.models import Job
from apps.registry.models import ModelVersion
from tests.deployments.conftest import store_model
from tests.deployments.serving import served
from tests.inference.models import image_model, png, table_model, text_model
from tests.inference.processes import serve
from tests.people import Person
from workers.inference.framing import JSON, Question, ask

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("gateway")]

PREDICT = "/v1/models/shades/predict"
DIM = png(127)  # dark with 65 %, bright with 35 %
NOTICE = "This is not a medical device."
SETTINGS = {"positive": "bright", "threshold": 0.3, "notice": NOTICE}
FLAGGED = [10 if place <= 30 else 1 for place in range(101)]
FOUND = [3 if place <= 30 else 1 for place in range(101)]
OPERATING = {"class": "bright", "items": 40, "positives": 4, "flagged": FLAGGED, "found": FOUND}


@pytest.fixture(scope="module")
def socket_path(tmp_path_factory) -> Iterator[str]:
    yield from serve(tmp_path_factory.mktemp("images"), image_model)


@pytest.fixture
def shades(owner: Person, version: ModelVersion, socket_path: str) -> Deployment:
    return served(owner, version, socket_path, page="screening", page_settings=SETTINGS)


def set_threshold(deployment: Deployment, threshold: float) -> None:
    Deployment.objects.filter(pk=deployment.pk).update(page_settings=SETTINGS | {"threshold": threshold})


def measure(version: ModelVersion) -> None:
    """As if a training had made it."""
    Job.objects.create(team=version.model.team, kind="train", output_version=version, result={"operating": [OPERATING]})


def show(deployment: Deployment, client: Client, body: bytes = DIM, **more: str) -> str:
    sent = {"file": SimpleUploadedFile("a.png", body, "image/png")} | more
    address = f"/demo/{deployment.team.slug}/{deployment.name}/"
    return html.unescape(client.post(address, sent, headers={"HX-Request": "true"}).content.decode())


def test_it_is_positive_from_the_threshold_on_though_another_class_is_likelier(owner, shades):
    found = show(shades, owner.page)
    assert "Positive" in found and '<p class="demo-answer">bright</p>' in found
    assert "<strong>34.5 %</strong> probability of bright. From 30 % on it counts as bright." in found
    set_threshold(shades, 0.4)
    found = show(shades, owner.page)
    assert "Negative" in found and '<p class="demo-answer">dark</p>' in found, "of two classes the other"
    assert "From 40 % on" in found


def test_of_more_than_two_classes_the_rest_has_no_name(owner, shades, version):
    ModelVersion.objects.filter(pk=version.pk).update(meta=version.meta | {"classes": ["dark", "bright", "grey"]})
    assert '<p class="demo-answer">not bright</p>' in show(shades, owner.page, png(0))


def test_the_page_says_how_often_the_model_was_right_at_this_threshold(owner, shades, version):
    assert "was not measured for this version" in show(shades, owner.page)
    measure(version)
    found = show(shades, owner.page)
    assert "75.0 %" in found and "3 of 4 that are bright are found" in found
    assert "80.6 %" in found and "29 of 36 that are not are left alone" in found
    assert "30.0 %" in found and "3 of 10 called bright are it" in found
    set_threshold(shades, 0.31)
    assert "1 of 4 that are bright are found" in show(shades, owner.page)


def test_what_was_not_measured_by_a_training_is_not_told(owner, shades, version):
    measure(version)
    Job.objects.update(kind="compress")
    assert "was not measured for this version" in show(shades, owner.page)


def test_the_notice_stands_above_for_a_visitor_of_the_public_page(shades):
    Deployment.objects.update(is_public=True)
    address = f"/demo/{shades.team.slug}/{shades.name}/"
    assert NOTICE in Client().get(address).content.decode()
    answered = Client().post(address, {"sample": "1"}).content.decode()
    assert NOTICE in answered and '<p class="demo-answer">bright</p>' in answered


def test_a_version_without_the_class_answers_as_usual_and_the_page_says_why(owner, shades, site):
    Deployment.objects.update(page_settings={"positive": "green"})
    found = show(shades, owner.page)
    assert "has no class “green”" in found and '<p class="demo-answer">dark</p>' in found
    assert set(site("POST", PREDICT, owner.secret, content=DIM).json()) == {"class", "probability"}


def test_programs_get_the_decision_beside_the_answer(site, owner, shades):
    answer = site("POST", PREDICT, owner.secret, content=DIM).json()
    assert answer["class"] == "dark" and answer["probability"] == pytest.approx(0.655, abs=0.001)
    decision = answer["decision"]
    assert decision.pop("probability") == pytest.approx(0.345, abs=0.001)
    assert decision == {"positive": "bright", "threshold": 0.3, "is_positive": True}
    explained = site("POST", "/v1/models/shades/explain", owner.secret, content=DIM).json()
    assert explained["decision"]["is_positive"] and explained["explanation"]


def test_each_of_many_items_has_its_own_decision(site, owner, shades):
    files = [("file", (f"{number}.png", body, "image/png")) for number, body in enumerate((png(0), DIM, png(255)))]
    answer = site("POST", PREDICT, owner.secret, files=files).json()
    assert [item["decision"]["is_positive"] for item in answer["predictions"]] == [False, True, True]
    lines = site("POST", PREDICT, owner.secret, files=files, headers={"Accept": "application/x-ndjson"}).text
    told = [json.loads(line)["decision"]["is_positive"] for line in lines.splitlines()]
    assert told == [False, True, True]


def test_without_a_screening_the_answer_is_as_it_was(site, owner, shades):
    Deployment.objects.update(page="")
    assert set(site("POST", PREDICT, owner.secret, content=DIM).json()) == {"class", "probability"}


def test_a_text_is_decided_on_while_it_is_written_and_nothing_is_said_of_none(owner, tmp_path):
    moods = serve(tmp_path / "process", text_model)
    settings = {"positive": "blame", "threshold": 0.04}
    version = store_model(owner, text_model(tmp_path / "model"), "moods")
    deployment = served(owner, version, next(moods), "moods", page="screening", page_settings=settings)
    found = show(deployment, owner.page, text="a good lamp")
    assert '<p class="demo-answer">blame</p>' in found and "From 4 % on" in found
    assert "demo-answer" not in show(deployment, owner.page, text="  ")
    assert next(moods, None) is None


def test_rows_are_decided_on_alike_and_what_is_explained_is_the_class_that_is_looked_for(tmp_path):
    ages = serve(tmp_path, table_model)
    socket_path = next(ages)
    row = Question(JSON, b'{"row": {"age": 58, "city": "Rome"}}')
    decided = row.deciding({"positive": "young", "threshold": 0.05})
    answer = json.loads(ask(socket_path, decided, timeout_seconds=20).body)
    assert answer["class"] == "old" and answer["decision"]["is_positive"]
    of_old, of_young = (
        json.loads(ask(socket_path, question.explained(), timeout_seconds=20).body)["explanation"]["output"]
        for question in (row, decided)
    )
    assert of_old == pytest.approx(answer["probability"], abs=1e-4)
    assert of_young == pytest.approx(answer["decision"]["probability"], abs=1e-4)
    assert next(ages, None) is None


def test_programs_set_it_and_are_told_what_is_wrong(owner, shades):
    url = f"/api/v1/deployments/{shades.pk}/"
    changed = owner.api.patch(url, {"page_settings": {"positive": "dark"}}, content_type="application/json")
    assert changed.status_code == 200 and changed.json()["page_settings"] == {"positive": "dark"}
    for wrong, word in (
        ({"positive": "green"}, "It has: dark, bright"),
        ({"threshold": 0.3}, "name it under"),
        ({"positive": "dark", "threshold": 1.2}, "whole hundredths"),
        ({"positive": "dark", "threshold": 0.305}, "whole hundredths"),
        ({"positive": "dark", "threshold": True}, "whole hundredths"),
        ({"positive": 3}, "name of a class"),
        ({"positive": "dark", "answers": {}}, "no setting"),
    ):
        refused = owner.api.patch(url, {"page_settings": wrong}, content_type="application/json")
        error = refused.json()["error"]
        assert (refused.status_code, error["field"]) == (422, "page_settings") and word in error["message"], wrong
    shades.refresh_from_db()
    assert shades.page_settings == {"positive": "dark"} and shades.decision["threshold"] == 0.5


def test_a_model_of_numbers_screens_for_nothing(owner, tmp_path):
    version = store_model(owner, table_model(tmp_path / "ages", task="tabular_regression"), "ages")
    body = {"model": "ages", "page": "screening", "page_settings": {"positive": "old"}}
    refused = owner.api.post("/api/v1/deployments/", body, content_type="application/json")
    assert refused.status_code == 422 and refused.json()["error"]["field"] == "page"
    assert not version.deployments.exists()
