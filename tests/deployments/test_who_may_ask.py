"""Limits of requests a minute, and networks that may ask: in the gateway, on the demo page, over the API."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.asgi import get_asgi_application
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st

from apps.accounts.models import ApiKey, AuditEvent
from apps.accounts.services import create_api_key, limit_api_key
from apps.core.errors import DomainError
from apps.deployments.admission import check_address, read_networks, to_networks
from apps.deployments.limiting import WINDOW_SECONDS, RateLimiter
from apps.deployments.models import Deployment
from lepton_site.gateway import Gateway
from tests.deployments.conftest import store_model
from tests.deployments.serving import served
from tests.deployments.site import Site
from tests.inference.models import SIDE, image_model, png
from tests.inference.processes import serve
from tests.people import Person

in_the_gateway = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("gateway")]

PREDICT = "/v1/models/shades/predict"


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_200.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def image_socket(tmp_path_factory) -> Iterator[str]:
    yield from serve(tmp_path_factory.mktemp("images"), image_model)


@pytest.fixture
def shades(owner: Person, tmp_path: Path, image_socket: str) -> Deployment:
    return served(owner, store_model(owner, image_model(tmp_path / "shades")), image_socket)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def site(clock: Clock) -> Iterator[Site]:
    site = Site(Gateway(get_asgi_application(), clock=clock))
    yield site
    site.runner.close()


def statuses(site: Site, secret: str, times: int) -> list[int]:
    return [site("POST", PREDICT, secret, content=png()).status_code for _number in range(times)]


def error(response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


# How often, decided without a site


@given(st.lists(st.floats(0, 100), max_size=150), st.integers(1, 30))
def test_no_minute_of_the_clock_has_more_than_the_limit(gaps, limit):
    limiter, now, let_through = RateLimiter(), 0.0, {}
    for gap in gaps:
        now += gap
        if limiter.take("key", limit, now=now) == 0:
            minute = int(now // WINDOW_SECONDS)
            let_through[minute] = let_through.get(minute, 0) + 1
    assert all(count <= limit for count in let_through.values())


@given(st.lists(st.floats(0, 20), max_size=100), st.integers(1, 20))
def test_who_comes_again_when_told_to_is_let_through(gaps, limit):
    limiter, now = RateLimiter(), 0.0
    for gap in gaps:
        now += gap
        wait_seconds = limiter.take("key", limit, now=now)
        if wait_seconds:
            now += wait_seconds
            assert limiter.take("key", limit, now=now) == 0


@given(st.integers(1, 50), st.floats(0, 59))
def test_after_a_quiet_time_the_whole_limit_is_there(limit, now):
    limiter = RateLimiter()
    for start in (now, now + 3 * WINDOW_SECONDS):
        assert [limiter.take("key", limit, now=start) for _number in range(limit)] == [0] * limit
        assert limiter.take("key", limit, now=start) > 0


def test_a_minute_that_was_used_up_counts_for_the_next_one_too():
    limiter = RateLimiter()
    assert [limiter.take("key", 10, now=59.0) for _number in range(10)] == [0] * 10
    assert limiter.take("key", 10, now=61.0) == 5  # at 66 s nine of ten lie within the last minute
    assert limiter.take("key", 10, now=66.0) == 0
    assert limiter.take("key", 10, now=66.0) > 0


def test_one_key_takes_nothing_from_another():
    limiter = RateLimiter()
    assert limiter.take("one", 1, now=0) == limiter.take("other", 1, now=0) == 0
    assert limiter.take("one", 1, now=1) > 0


# From where, decided without a site


@pytest.mark.parametrize(
    ("networks", "address", "is_allowed"),
    [
        ("", "203.0.113.9", True),
        ("203.0.113.0/24", "203.0.113.9", True),
        ("203.0.113.0/24", "203.0.114.9", False),
        ("203.0.113.0/24", "::ffff:203.0.113.9", True),
        ("203.0.113.9", "203.0.113.9", True),
        ("203.0.113.9", "203.0.113.10", False),
        ("10.0.0.0/8, 2001:db8::/32", "2001:db8::1", True),
        ("10.0.0.0/8", "2001:db8::1", False),
        ("10.0.0.0/8", "", False),
        ("10.0.0.0/8", "no address", False),
    ],
)
def test_an_address_must_lie_in_a_listed_network(networks, address, is_allowed):
    allowed = to_networks(read_networks(networks))
    if is_allowed:
        check_address(allowed, address)
        return
    with pytest.raises(DomainError) as refused:
        check_address(allowed, address)
    assert (refused.value.status, refused.value.code) == (403, "address_not_allowed")


@pytest.mark.parametrize("text", ["10.0.0.1/8", "300.1.1.1", "example.org", "10.0.0.0/33", "1 " * 101])
def test_what_is_no_network_is_refused_with_a_sentence(text):
    with pytest.raises(DomainError) as refused:
        read_networks(text)
    assert refused.value.field == "allowed_networks"
    assert refused.value.message.rstrip().endswith(".")


# In the gateway


class TestGateway:
    pytestmark = in_the_gateway

    def test_a_key_that_asks_too_often_is_told_when_to_come_again(self, site, clock, owner, shades):
        limit_api_key(key=ApiKey.objects.get(), actor=owner.user, requests_per_minute=3)
        assert statuses(site, owner.secret, 4) == [200, 200, 200, 429]
        refused = site("POST", PREDICT, owner.secret, content=png())
        assert error(refused) == (429, "rate_limited")
        wait_seconds = int(refused.headers["retry-after"])
        assert f"3 times a minute. Come again in {wait_seconds} s." in refused.json()["error"]["message"]
        clock.now += wait_seconds
        assert statuses(site, owner.secret, 1) == [200]

    def test_the_limit_of_a_key_holds_for_both_protocols_together(self, site, owner, shades):
        limit_api_key(key=ApiKey.objects.get(), actor=owner.user, requests_per_minute=2)
        assert statuses(site, owner.secret, 1) == [200]
        assert site("POST", "/v2/models/shades/infer", owner.secret, content=b"{}").status_code == 400
        refused = site("POST", "/v2/models/shades/infer", owner.secret, content=b"{}")
        assert (refused.status_code, list(refused.json())) == (429, ["error"])
        assert site("GET", "/v1/models/shades", owner.secret).status_code == 200

    def test_the_limit_of_a_deployment_holds_for_each_key(self, site, owner, member, shades):
        Deployment.objects.update(requests_per_minute=2)
        assert statuses(site, owner.secret, 3) == [200, 200, 429]
        assert statuses(site, member.secret, 3) == [200, 200, 429]

    @pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson"])
    def test_each_item_of_a_request_counts_as_a_prediction(self, site, clock, owner, shades, accept):
        limit_api_key(key=ApiKey.objects.get(), actor=owner.user, requests_per_minute=5)
        several = [("file", (f"{number}.png", png(), "image/png")) for number in range(4)]
        assert site("POST", PREDICT, owner.secret, files=several, headers={"Accept": accept}).status_code == 200
        assert statuses(site, owner.secret, 2) == [200, 429]

    def test_items_beyond_the_limit_are_answered_and_make_the_next_request_wait(self, site, clock, owner, shades):
        Deployment.objects.update(requests_per_minute=3)
        several = [("file", (f"{number}.png", png(), "image/png")) for number in range(20)]
        assert site("POST", PREDICT, owner.secret, files=several).status_code == 200
        refused = site("POST", PREDICT, owner.secret, content=png())
        wait_seconds = int(refused.headers["retry-after"])
        assert WINDOW_SECONDS < wait_seconds <= 2 * WINDOW_SECONDS
        clock.now += wait_seconds
        assert statuses(site, owner.secret, 1) == [200]

    def test_items_of_the_open_inference_protocol_count_too(self, site, clock, owner, shades):
        limit_api_key(key=ApiKey.objects.get(), actor=owner.user, requests_per_minute=3)
        shape = [3, SIDE, SIDE, 1]
        pictures = {"name": "image", "datatype": "UINT8", "shape": shape, "data": [200] * math.prod(shape)}
        answer = site("POST", "/v2/models/shades/infer", owner.secret, json={"inputs": [pictures]})
        assert (answer.status_code, answer.json()["outputs"][0]["shape"][0]) == (200, 3)
        assert statuses(site, owner.secret, 1) == [429]

    def test_only_listed_networks_are_answered(self, site, owner, shades):
        Deployment.objects.update(allowed_networks=["203.0.113.0/24"])
        ask = {"content": png(), "client": "203.0.113.7"}
        assert site("POST", PREDICT, owner.secret, **ask).status_code == 200
        for method, path in (("POST", PREDICT), ("GET", "/v1/models/shades"), ("GET", "/v2/models/shades")):
            refused = site(method, path, owner.secret, client="198.51.100.1")
            assert refused.status_code == 403
            assert "198.51.100.1" in refused.text

    def test_who_has_no_key_learns_nothing_of_the_networks(self, site, stranger, shades):
        Deployment.objects.update(allowed_networks=["203.0.113.0/24"])
        assert site("POST", PREDICT, content=png()).status_code == 401
        assert site("POST", PREDICT, stranger.secret, content=png()).status_code == 404


@pytest.mark.django_db
class TestPagesAndApi:
    def test_limits_and_networks_are_set_over_the_api(self, owner, shades):
        def patch(**fields):
            return owner.api.patch(f"/api/v1/deployments/{shades.pk}/", fields, content_type="application/json")

        networks = ["10.1.0.0/16", "2001:db8::/32", "10.1.0.0/16"]
        changed = patch(requests_per_minute=600, allowed_networks=networks).json()
        assert (changed["requests_per_minute"], changed["allowed_networks"]) == (600, networks[:2])
        assert error(patch(allowed_networks=["10.1.0.1/16"])) == (422, "invalid_network")
        assert error(patch(requests_per_minute=-1)) == (422, "out_of_range")
        changed = patch(requests_per_minute=0, allowed_networks=[]).json()
        assert (changed["requests_per_minute"], changed["allowed_networks"]) == (None, [])

    def test_they_are_set_on_the_page_and_other_changes_leave_them(self, owner, shades):
        url = reverse("deployments:change", args=[shades.pk])
        owner.page.post(url, {"requests_per_minute": "60", "allowed_networks": "10.1.0.0/16\r\n192.0.2.7"})
        owner.page.post(url, {"is_public": "yes"})
        shades.refresh_from_db()
        assert (shades.requests_per_minute, shades.allowed_networks) == (60, ["10.1.0.0/16", "192.0.2.7/32"])
        page = owner.page.get(reverse("deployments:detail", args=[shades.pk])).content.decode()
        assert "10.1.0.0/16\n192.0.2.7/32" in page
        owner.page.post(url, {"requests_per_minute": "0", "allowed_networks": ""})
        shades.refresh_from_db()
        assert (shades.requests_per_minute, shades.allowed_networks) == (None, [])

    def test_a_network_that_is_none_is_told(self, owner, shades):
        url = reverse("deployments:change", args=[shades.pk])
        refused = owner.page.post(url, {"allowed_networks": "everywhere"}, headers={"Accept": "application/json"})
        assert error(refused) == (422, "invalid_network")

    def test_the_demo_page_is_for_the_same_networks(self, owner, client, shades):
        Deployment.objects.update(is_public=True, allowed_networks=["203.0.113.0/24"])
        path = f"/demo/{owner.team.slug}/shades/"
        assert client.get(path, REMOTE_ADDR="203.0.113.7").status_code == 200
        assert client.get(path, REMOTE_ADDR="198.51.100.1").status_code == 403
        assert client.post(path, {"sample": "1"}, REMOTE_ADDR="198.51.100.1").status_code == 403

    def test_a_key_is_made_with_a_limit_and_the_limit_is_changed(self, owner, member, stranger):
        owner.page.post(reverse("accounts:keys"), {"name": "robot", "requests_per_minute": "90"})
        key = ApiKey.objects.get(name="robot")
        assert key.requests_per_minute == 90
        assert "90 predictions a minute" in owner.page.get(reverse("accounts:keys")).content.decode()
        url = reverse("accounts:limit_key", args=[key.pk])
        for person in (member, stranger):
            assert person.page.post(url, {"requests_per_minute": "1"}).status_code == 404
        owner.page.post(url, {"requests_per_minute": ""})
        key.refresh_from_db()
        assert key.requests_per_minute is None
        assert AuditEvent.objects.get(action="key.limited").details["requests_per_minute"] is None
        refused = owner.page.post(url, {"requests_per_minute": "0"}, headers={"Accept": "application/json"})
        assert refused.status_code == 422

    def test_a_limit_that_cannot_be_is_refused(self, owner):
        with pytest.raises(DomainError, match="between 1 and 1,000,000"):
            create_api_key(team=owner.team, user=owner.user, name="robot", requests_per_minute=0)
