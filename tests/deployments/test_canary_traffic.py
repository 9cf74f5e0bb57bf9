"""What a client sees while two versions serve: each gets its share, and a bad one costs no answer and is stopped."""

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.asgi import get_asgi_application

from apps.deployments.counting import TALLY
from apps.deployments.models import Canary, Deployment, Replica, TrafficChange
from apps.deployments.rollouts import try_version
from lepton_site.gateway import Gateway
from tests.deployments.conftest import store_model
from tests.deployments.serving import served
from tests.deployments.site import Site
from tests.inference.models import image_model, png
from tests.inference.processes import serve
from tests.people import Person

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("gateway")]

PREDICT = "/v1/models/shades/predict"


@pytest.fixture(scope="module")
def old_socket(tmp_path_factory) -> Iterator[str]:
    yield from serve(tmp_path_factory.mktemp("old"), image_model)


@pytest.fixture(scope="module")
def new_socket(tmp_path_factory) -> Iterator[str]:
    yield from serve(tmp_path_factory.mktemp("new"), lambda folder: image_model(folder, classes=("night", "day")))


@pytest.fixture
def shades(owner: Person, tmp_path: Path, old_socket: str) -> Deployment:
    """Version 1 serves; version 2 gets 20 percent."""
    TALLY.take()
    old = store_model(owner, image_model(tmp_path / "old"))
    new = store_model(owner, image_model(tmp_path / "new", classes=("night", "day")))
    deployment = served(owner, old, old_socket)
    try_version(deployment=deployment, user=owner.user, version=new, weight=20)
    return deployment


@pytest.fixture
def site() -> Iterator[Site]:
    """Its choices lie evenly between 0 and 1."""
    points = itertools.cycle(number / 10 for number in range(10))
    site = Site(Gateway(get_asgi_application(), choose=lambda: next(points)))
    yield site
    site.runner.close()


def start_canary(deployment: Deployment, socket_path: str) -> None:
    waiting = deployment.replicas.filter(version__number=2)
    waiting.update(status=Replica.Status.READY, socket_path=socket_path)


def ask(site: Site, owner: Person, times: int) -> Counter:
    """How often which version answered, and with which class and status."""
    answers = [site("POST", PREDICT, owner.secret, content=png(255)) for _number in range(times)]
    return Counter((item.status_code, item.headers["lepton-version"], item.json().get("class")) for item in answers)


def flush(site: Site) -> None:
    """What the gateway does about once a second."""
    site.runner.run(site.gateway._flush())


def test_until_the_canary_is_ready_the_stable_version_answers_all(site, owner, shades):
    assert ask(site, owner, 10) == {(200, "1", "bright"): 10}


def test_each_version_answers_its_share(site, owner, shades, new_socket):
    start_canary(shades, new_socket)
    assert ask(site, owner, 20) == {(200, "1", "bright"): 16, (200, "2", "day"): 4}


def test_a_canary_that_dies_costs_no_answer_and_is_stopped(site, owner, shades):
    start_canary(shades, "/nonexistent/canary.sock")
    Deployment.objects.filter(pk=shades.pk).update(min_answers=5)
    assert ask(site, owner, 20) == {(200, "1", "bright"): 20}
    flush(site)
    assert Canary.objects.get().weight == 20
    assert ask(site, owner, 10) == {(200, "1", "bright"): 10}
    flush(site)
    assert Canary.objects.get().weight == 0
    assert shades.traffic_changes.first().kind == TrafficChange.Kind.STOPPED


def test_a_canary_that_answers_as_well_goes_on(site, owner, shades, new_socket):
    start_canary(shades, new_socket)
    Deployment.objects.filter(pk=shades.pk).update(min_answers=2, max_latency_factor=1000)
    ask(site, owner, 20)
    flush(site)
    assert Canary.objects.get().weight == 20


def test_what_the_client_did_wrong_is_no_error_of_the_version(site, owner, shades, new_socket):
    start_canary(shades, new_socket)
    Deployment.objects.filter(pk=shades.pk).update(min_answers=2, max_latency_factor=1000)
    for number in range(20):
        is_the_canarys = number % 10 >= 8
        body = b"no picture" if is_the_canarys else png(255)
        assert site("POST", PREDICT, owner.secret, content=body).status_code == (422 if is_the_canarys else 200)
    flush(site)
    assert Canary.objects.get().weight == 20


def test_the_demo_page_is_traffic_too(owner, shades, new_socket):
    answer = owner.page.post(f"/demo/{owner.team.slug}/shades/", {"sample": "1"})
    assert answer.status_code == 200
    assert sum(count.answers for count in TALLY.take().values()) == 1
