"""Predictions by API key: what the gateway answers, and what it refuses before it does any work."""

import asyncio
import base64
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from django.core.asgi import get_asgi_application

from apps.accounts.models import ApiKey
from apps.accounts.services import revoke_api_key
from apps.deployments.connections import MAX_IN_FLIGHT
from apps.deployments.models import Deployment, Replica
from apps.resources.metering import METER
from apps.resources.nodes import default_pool
from apps.resources.quotas import set_quota
from lepton_site.gateway import Gateway
from lepton_site.predictions import CACHE_SECONDS
from tests.deployments.conftest import store_model
from tests.deployments.serving import served
from tests.deployments.site import Site
from tests.inference.models import image_model, png, table_model
from tests.inference.processes import serve
from tests.people import Person

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("gateway")]

PREDICT = "/v1/models/shades/predict"


@pytest.fixture(scope="module")
def image_socket(tmp_path_factory) -> Iterator[str]:
    yield from serve(tmp_path_factory.mktemp("images"), image_model)


@pytest.fixture(scope="module")
def table_socket(tmp_path_factory) -> Iterator[str]:
    yield from serve(tmp_path_factory.mktemp("table"), table_model)


@pytest.fixture
def shades(owner: Person, tmp_path: Path, image_socket: str) -> Deployment:
    return served(owner, store_model(owner, image_model(tmp_path / "shades"), "shade-model"), image_socket)


@pytest.fixture
def ages(owner: Person, tmp_path: Path, table_socket: str) -> Deployment:
    return served(owner, store_model(owner, table_model(tmp_path / "ages"), "ages"), table_socket, "ages")


@pytest.fixture(scope="module")
def django_app():
    return get_asgi_application()


@pytest.fixture
def site(django_app) -> Iterator[Site]:
    site = Site(Gateway(django_app))
    yield site
    site.runner.close()


def code(response: httpx.Response) -> tuple[int, str]:
    error = response.json()["error"]
    assert error["message"].endswith((".", "...", "png"))
    return response.status_code, error["code"]


def test_raw_bytes_are_classified(site, owner, shades):
    response = site("POST", PREDICT, owner.secret, content=png(255))
    assert response.status_code == 200
    assert response.json()["class"] == "bright"
    assert response.headers["server-timing"].startswith("predict;dur=")


@pytest.mark.parametrize(
    "options",
    [
        {"json": {"image": base64.b64encode(png(0)).decode()}},
        {"files": {"file": ("a.png", png(0), "image/png")}},
        {"content": png(0), "headers": {"Content-Type": "application/x-www-form-urlencoded"}},
    ],
    ids=["base64", "multipart", "as curl sends it"],
)
def test_a_picture_may_come_in_other_wrappings(site, owner, shades, options):
    assert site("POST", PREDICT, owner.secret, **options).json()["class"] == "dark"


def test_top_k_adds_the_classes(site, owner, shades):
    response = site("POST", PREDICT + "?top_k=2", owner.secret, content=png(0))
    assert [item["class"] for item in response.json()["classes"]] == ["dark", "bright"]


@pytest.mark.parametrize("top_k", ["0", "-1", "many", "1001", "²"])
def test_a_wrong_top_k_is_refused(site, owner, shades, top_k):
    assert code(site("POST", f"{PREDICT}?top_k={top_k}", owner.secret, content=png())) == (422, "out_of_range")


@pytest.mark.parametrize("name", ["shades", "shade-model", "image_classification"])
def test_it_answers_to_its_name_its_model_and_its_task(site, owner, shades, name):
    assert site("POST", f"/v1/models/{name}/predict", owner.secret, content=png()).status_code == 200
    described = site("GET", f"/v1/models/{name}", owner.secret).json()
    assert described["name"] == "shades"
    assert described["classes"] == ["dark", "bright"]
    assert described["input"]["kind"] == "image"


def test_rows_are_classified(site, owner, ages):
    path = "/v1/models/ages/predict"
    assert site("POST", path, owner.secret, json={"row": {"age": 55, "city": "Oslo"}}).json()["class"] == "old"
    assert code(site("POST", path, owner.secret, json={"row": {"city": "Oslo"}})) == (422, "missing_column")
    wrong = site("POST", path, owner.secret, json={"row": {"age": "x", "city": "Oslo"}})
    assert code(wrong) == (422, "wrong_type")
    assert wrong.json()["error"]["field"] == "age"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", (400, "empty_body")),
        (b"this is text", (422, "undecodable_image")),
        (png(side=1), (422, "image_too_small")),
    ],
)
def test_a_bad_picture_is_refused_with_a_sentence(site, owner, shades, body, expected):
    assert code(site("POST", PREDICT, owner.secret, content=body)) == expected


def test_multipart_without_a_file_is_refused(site, owner, shades):
    assert code(site("POST", PREDICT, owner.secret, files={"other": b"x"}))[0] == 422
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    assert site("POST", PREDICT, owner.secret, content=b"nonsense", headers=headers).status_code in (400, 422)


def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_read(site, owner, shades, settings):
    settings.LEPTON_MAX_PREDICT_BYTES = 1000
    read = []

    async def body():
        read.append(True)
        yield b"x" * 10

    headers = {"Content-Length": "1001"}
    response = site("POST", PREDICT, owner.secret, content=body(), headers=headers)
    assert code(response) == (413, "too_large")
    assert read == []


def test_a_body_that_grows_too_large_is_refused(site, owner, shades, settings):
    settings.LEPTON_MAX_PREDICT_BYTES = 1000

    async def body():
        for _part in range(3):
            yield b"x" * 400

    assert code(site("POST", PREDICT, owner.secret, content=body())) == (413, "too_large")


def test_a_missing_or_wrong_key_is_refused(site, owner, shades):
    response = site("POST", PREDICT, content=png())
    assert code(response) == (401, "not_authenticated")
    assert response.headers["www-authenticate"] == "Bearer"
    assert code(site("POST", PREDICT, "lp_wrong", content=png())) == (401, "invalid_api_key")
    assert code(site("GET", "/v1/models/shades", "lp_wrong")) == (401, "invalid_api_key")


def test_a_revoked_key_is_refused_within_a_second(site, owner, shades):
    assert site("POST", PREDICT, owner.secret, content=png()).status_code == 200
    revoke_api_key(key=ApiKey.objects.get(user=owner.user), actor=owner.user)
    deadline = time.monotonic() + 1.0
    while site("POST", PREDICT, owner.secret, content=png()).status_code == 200:
        assert time.monotonic() < deadline
    assert code(site("POST", PREDICT, owner.secret, content=png())) == (401, "invalid_api_key")


def test_another_teams_deployment_does_not_exist(site, stranger, shades):
    for name in ("shades", "shade-model", "image_classification"):
        assert code(site("POST", f"/v1/models/{name}/predict", stranger.secret, content=png())) == (
            404,
            "no_such_endpoint",
        )
        assert site("GET", f"/v1/models/{name}", stranger.secret).status_code == 404
    nothing_yet = site("POST", "/v1/models/image_classification/predict", stranger.secret, content=png())
    assert "set up an example" in nothing_yet.json()["error"]["message"]


def test_only_the_right_methods_and_paths(site, owner, shades):
    response = site("GET", PREDICT, owner.secret)
    assert code(response) == (405, "method_not_allowed")
    assert response.headers["allow"] == "POST"
    assert code(site("POST", "/v1/models/shades/nonsense", owner.secret))[0] == 404
    assert site("GET", "/healthz").status_code == 200


def test_without_a_ready_replica_it_says_when_to_come_again(site, owner, shades):
    shades.replicas.update(status=Replica.Status.STARTING)
    response = site("POST", PREDICT, owner.secret, content=png())
    assert code(response) == (503, "not_ready")
    assert int(response.headers["retry-after"]) >= 1


def test_a_replica_that_died_is_asked_no_second_time_and_another_answers(site, owner, shades, image_socket):
    Replica.objects.create(
        deployment=shades, version=shades.version, status=Replica.Status.READY, socket_path="/nonexistent/a.sock"
    )
    for _attempt in range(3):
        assert site("POST", PREDICT, owner.secret, content=png()).status_code == 200


def test_a_replica_that_dies_with_a_request_in_hand_loses_nothing(site, owner, shades, tmp_path):
    """A replica that reads the question and closes: the other one answers it."""
    path = str(tmp_path / "dying.sock")

    async def scenario() -> list[int]:
        async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(100)
            writer.close()

        server = await asyncio.start_unix_server(die, path)
        async with server:
            asked = [site.ask("POST", PREDICT, owner.secret, content=png()) for _number in range(8)]
            return [response.status_code for response in await asyncio.gather(*asked)]

    Replica.objects.create(deployment=shades, version=shades.version, status=Replica.Status.READY, socket_path=path)
    assert site.runner.run(scenario()) == [200] * 8


def test_more_than_a_replica_may_have_in_hand_is_told_to_come_again(site, owner, shades, tmp_path):
    path = str(tmp_path / "slow.sock")
    release = asyncio.Event()

    async def scenario() -> list[httpx.Response]:
        async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await release.wait()
            writer.close()

        async with await asyncio.start_unix_server(wait, path):
            asked = [
                asyncio.ensure_future(site.ask("POST", PREDICT, owner.secret, content=png()))
                for _number in range(MAX_IN_FLIGHT + 5)
            ]
            done, _waiting = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            refused = [task.result() for task in done]
            release.set()
            await asyncio.gather(*asked)
            return refused

    shades.replicas.update(socket_path=path)
    refused = site.runner.run(scenario())
    assert {code(response) for response in refused} == {(429, "overloaded")}
    assert "retry-after" in refused[0].headers


def test_a_huge_body_for_django_is_refused_by_its_length(site, owner):
    headers = {"Content-Length": str(10**10)}
    response = site("POST", "/sign-in/", headers=headers, content=iter_nothing())
    assert code(response) == (413, "too_large")


async def iter_nothing():
    yield b""


def test_the_answers_of_many_clients_do_not_get_mixed_up(site, owner, shades):
    async def scenario() -> list[tuple[int, str]]:
        levels = [0, 255] * 40
        asked = [site.ask("POST", PREDICT, owner.secret, content=png(level)) for level in levels]
        answers = await asyncio.gather(*asked)
        return [(level, item.json()["class"]) for level, item in zip(levels, answers, strict=True) if item.is_success]

    found = site.runner.run(scenario())
    assert len(found) >= MAX_IN_FLIGHT
    assert set(found) == {(0, "dark"), (255, "bright")}


def test_what_is_cached_is_cached_for_less_than_a_second():
    assert CACHE_SECONDS < 1


@pytest.mark.parametrize("path", ["/v1/models/a%00b", "/api/v1/jobs/?status=%00", "/jobs/?q=a%00", "/%00"])
def test_no_address_has_a_nul_character_in_it(site, owner, path):
    assert code(site("GET", path, owner.secret)) == (400, "bad_request")


def test_a_key_too_long_to_be_one_is_refused_and_not_remembered(site, owner):
    assert code(site("GET", "/v1/models/shades", "x" * 5000)) == (401, "invalid_api_key")
    assert not site.gateway.predictions._keys._entries


def test_a_name_too_long_to_be_one_is_not_looked_up(site, owner):
    assert code(site("GET", "/v1/models/" + "x" * 5000, owner.secret)) == (404, "not_found")
    assert not site.gateway.predictions._endpoints._entries


def test_a_body_without_a_length_is_refused_where_it_grows_too_long(site, owner):
    async def blocks():
        for _number in range(40):
            yield b"x" * 2**20

    response = site("PUT", "/api/v1/uploads/00000000-0000-0000-0000-000000000000/", owner.secret, content=blocks())
    assert code(response) == (413, "too_large")


def test_memory_for_a_body_is_held_until_it_is_answered(site, owner, shades, monkeypatch):
    monkeypatch.setattr("lepton_site.room.MAX_BYTES", len(png(0)) * 2 - 1)

    async def both() -> list[httpx.Response]:
        return await asyncio.gather(*(site.ask("POST", PREDICT, owner.secret, content=png(0)) for _ in range(2)))

    assert sorted(response.status_code for response in site.runner.run(both())) == [200, 429]
    assert site("POST", PREDICT, owner.secret, content=png(0)).status_code == 200


def test_every_answer_counts_for_the_keys_team(site, owner, shades):
    METER.take()
    answers = [site("POST", PREDICT, owner.secret, content=png()), site("GET", "/v1/models/shades", owner.secret)]
    assert METER.take() == {(owner.team.pk, "prediction"): sum(len(answer.content) for answer in answers)}


def test_a_team_that_has_sent_its_quota_is_refused_within_a_second(site, owner, shades):
    set_quota(team=owner.team, pool=default_pool(), resource="egress", limit=10, user=None)
    assert site("POST", PREDICT, owner.secret, content=png()).status_code == 200
    METER.flush()
    time.sleep(CACHE_SECONDS)
    refused = site("POST", PREDICT, owner.secret, content=png())
    assert code(refused) == (403, "quota_exceeded")
    details = refused.json()["error"]["details"]
    assert details["limit_bytes"] == 10 and details["used_bytes"] > 10


def test_while_key_and_endpoint_are_cached_a_prediction_asks_the_database_nothing(site, owner, shades, monkeypatch):
    set_quota(team=owner.team, pool=default_pool(), resource="egress", limit=10**9, user=None)
    asked = []
    monkeypatch.setattr("lepton_site.predictions.check_egress", asked.append)
    monkeypatch.setattr("time.monotonic", lambda: 1000.0)  # nothing expires
    for _number in range(5):
        assert site("POST", PREDICT, owner.secret, content=png()).status_code == 200
    assert asked == [owner.team.pk]
