"""An answer is explained on request: by key, on the demo page, at ten times the price, and beside the predictions."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.asgi import get_asgi_application

from apps.deployments.counting import TALLY
from apps.deployments.limiting import RateLimiter
from apps.deployments.models import Deployment, Replica
from lepton_site import predictions
from lepton_site.gateway import Gateway
from tests.deployments.conftest import store_model
from tests.deployments.serving import served
from tests.deployments.site import Site
from tests.inference.models import image_model, png, table_model, text_model
from tests.inference.processes import serve
from tests.people import Person

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("gateway")]

MAKE = {"shades": image_model, "ages": table_model, "moods": text_model}


@pytest.fixture(scope="module")
def sockets(tmp_path_factory) -> Iterator[dict[str, str]]:
    running = {name: serve(tmp_path_factory.mktemp(name), make) for name, make in MAKE.items()}
    yield {name: next(process) for name, process in running.items()}
    for process in running.values():
        next(process, None)


@pytest.fixture
def deployments(owner: Person, tmp_path: Path, sockets) -> dict[str, Deployment]:
    return {
        name: served(owner, store_model(owner, make(tmp_path / name), name), sockets[name], name)
        for name, make in MAKE.items()
    }


def test_a_program_is_told_where_an_answer_comes_from(site, owner, deployments):
    TALLY.take()
    found = site("POST", "/v1/models/ages/explain", owner.secret, json={"row": {"age": 58, "city": "Rome"}}).json()
    assert found["class"] == "old" and found["explanation"]["contributions"][0]["column"] == "age"
    found = site("POST", "/v1/models/moods/explain", owner.secret, json={"text": "a good lamp"}).json()
    assert [token["text"] for token in found["explanation"]["tokens"] if token["weight"]] == ["good"]
    found = site("POST", "/v1/models/shades/explain", owner.secret, content=png(255)).json()
    assert len(found["explanation"]["grid"]) == 8 and found["explanation"]["overlay"]
    assert not TALLY.take(), "explanations say nothing of how fast a version predicts"


def test_an_explanation_that_wakes_a_sleeper_is_not_counted_either(owner, deployments, monkeypatch):
    TALLY.take()
    ages = deployments["ages"]
    Deployment.objects.filter(pk=ages.pk).update(wanted_replicas=0, min_replicas=0, max_replicas=1)
    ages.replicas.update(status=Replica.Status.STOPPED)
    monkeypatch.setattr(predictions, "wake_deployment", lambda _pk: ages.replicas.update(status=Replica.Status.READY))
    site = Site(Gateway(get_asgi_application()))
    found = site("POST", "/v1/models/ages/explain", owner.secret, json={"row": {"age": 58, "city": "Rome"}})
    site.runner.close()
    assert found.status_code == 200 and "explanation" in found.json()
    assert not TALLY.take()


def test_it_asks_for_a_key_and_for_one_item(site, owner, stranger, deployments):
    row = {"row": {"age": 58, "city": "Rome"}}
    assert site("POST", "/v1/models/ages/explain", json=row).status_code == 401
    assert site("POST", "/v1/models/ages/explain", stranger.secret, json=row).status_code == 404
    assert site("GET", "/v1/models/ages/explain", owner.secret).status_code == 405
    response = site("POST", "/v1/models/ages/explain", owner.secret, json={"rows": [row["row"]] * 2})
    assert (response.status_code, response.json()["error"]["code"]) == (422, "one_at_a_time")


def test_it_counts_as_ten_predictions(site, owner, deployments):
    Deployment.objects.filter(name="ages").update(requests_per_minute=12)
    row = {"row": {"age": 58, "city": "Rome"}}
    assert site("POST", "/v1/models/ages/explain", owner.secret, json=row).status_code == 200
    refused = site("POST", "/v1/models/ages/explain", owner.secret, json=row)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limited")
    statuses = [site("POST", "/v1/models/ages/predict", owner.secret, json=row).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]


def test_more_than_the_limit_of_a_minute_is_let_through_once_in_an_empty_one():
    limiter = RateLimiter()
    assert limiter.take("key", 4, now=0.0, weight=10) == 0
    wait_seconds = limiter.take("key", 4, now=0.0, weight=10)
    assert wait_seconds == 120, "until nothing of it lies within the last minute"
    assert limiter.take("key", 4, now=float(wait_seconds), weight=10) == 0


@pytest.mark.parametrize(
    ("name", "sent", "shown"),
    [
        ("ages", {"age": "58", "city": "Rome"}, ["age", "usually 40", "pp"]),
        ("moods", {"text": "a good lamp"}, ['class="for-9"', "when that word is left out"]),
        ("shades", {}, ["data:image/png;base64,", "when that part is covered"]),
    ],
)
def test_the_demo_page_explains_its_answer(owner, deployments, name, sent, shown):
    path = f"/demo/{owner.team.slug}/{name}/"
    first = {"sample": "1"} if name == "shades" else sent
    answered = owner.page.post(path, first).content.decode()
    assert 'name="explain"' in answered and "Where the answer comes from" not in answered
    explain = {"explain": "sample"} if name == "shades" else {**sent, "explain": "1"}
    page = owner.page.post(path, explain).content.decode()
    assert "Where the answer comes from" in page and all(word in page for word in shown)


def test_a_stranger_of_a_public_demo_may_explain_three_times_a_minute(owner, client, deployments, monkeypatch):
    Deployment.objects.update(is_public=True)
    monkeypatch.setattr("apps.deployments.demos.limits.time.time", lambda: time.mktime((2026, 1, 1, 0, 0, 0, 0, 0, 0)))
    path = f"/demo/{owner.team.slug}/ages/"
    sent = {"age": "58", "city": "Rome", "explain": "1"}
    assert [client.post(path, sent).status_code for _ in range(4)] == [200, 200, 200, 429]
