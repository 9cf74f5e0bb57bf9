"""Several items in one request, and answers that come line by line."""

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from apps.deployments.models import Deployment, Replica
from lepton_site import messages
from tests.deployments.conftest import store_model
from tests.deployments.serving import served
from tests.inference.models import image_model, png, table_model
from tests.inference.processes import serve
from tests.people import Person

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("gateway")]

SHADES, AGES = "/v1/models/shades/predict", "/v1/models/ages/predict"
LINES = {"Accept": "application/x-ndjson"}


@pytest.fixture(scope="module")
def image_socket(tmp_path_factory) -> Iterator[str]:
    yield from serve(tmp_path_factory.mktemp("images"), image_model)


@pytest.fixture(scope="module")
def table_socket(tmp_path_factory) -> Iterator[str]:
    yield from serve(tmp_path_factory.mktemp("table"), table_model)


@pytest.fixture
def shades(owner: Person, tmp_path: Path, image_socket: str) -> Deployment:
    return served(owner, store_model(owner, image_model(tmp_path / "shades")), image_socket)


@pytest.fixture
def ages(owner: Person, tmp_path: Path, table_socket: str) -> Deployment:
    return served(owner, store_model(owner, table_model(tmp_path / "ages"), "ages"), table_socket, "ages")


def files(*bodies: bytes) -> list:
    return [("file", (f"{number}.png", body, "image/png")) for number, body in enumerate(bodies)]


def in_base64(*bodies: bytes) -> dict:
    return {"images": [base64.b64encode(body).decode() for body in bodies]}


def lines(response) -> list[dict]:
    assert response.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in response.text.splitlines()]


@pytest.mark.parametrize(
    "options",
    [{"files": files(png(0), png(255), png(0))}, {"json": in_base64(png(0), png(255), png(0))}],
    ids=["multipart", "base64"],
)
def test_several_pictures_get_an_answer_each(site, owner, shades, options):
    response = site("POST", f"{SHADES}?top_k=1", owner.secret, **options)
    assert response.status_code == 200
    assert [item["class"] for item in response.json()["predictions"]] == ["dark", "bright", "dark"]
    assert [len(item["classes"]) for item in response.json()["predictions"]] == [1, 1, 1]


@pytest.mark.parametrize("options", [{"files": files(png(0), b"no")}, {"json": in_base64(png(0), b"no")}])
def test_one_bad_picture_of_several_is_named(site, owner, shades, options):
    response = site("POST", SHADES, owner.secret, **options)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["field"]) == (422, "undecodable_image", "file[1]")
    assert error["message"].startswith("File 2: ")


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"files": files(*[b"x"] * 101)}, "too_many_files"),
        ({"json": {"images": ["eA=="] * 257}}, "too_many_images"),
    ],
    ids=["multipart", "base64"],
)
def test_too_many_pictures_are_refused(site, owner, shades, options, code):
    response = site("POST", SHADES, owner.secret, **options)
    assert (response.status_code, response.json()["error"]["code"]) == (413, code)


def test_pictures_are_answered_line_by_line_in_their_order(site, owner, shades):
    levels = [0, 255, 255] * 7
    response = site("POST", SHADES, owner.secret, files=files(*map(png, levels)), headers=LINES)
    found = lines(response)
    assert [item["index"] for item in found] == list(range(21))
    assert [item["class"] for item in found] == ["bright" if level else "dark" for level in levels]


def test_a_bad_item_has_its_error_in_its_line_and_the_others_their_answers(site, owner, shades, ages):
    bodies = [png(255)] * 10 + [b"no picture"] + [png(0)] * 2
    found = lines(site("POST", SHADES, owner.secret, json=in_base64(*bodies), headers=LINES))
    assert found[10] == {"index": 10, "error": found[10]["error"]}
    assert found[10]["error"]["code"] == "undecodable_image"
    assert [item.get("class") for item in found] == ["bright"] * 10 + [None] + ["dark"] * 2
    rows = [{"age": 55, "city": "Oslo"}, {"age": "many", "city": "Oslo"}, {"age": 20, "city": None}]
    found = lines(site("POST", AGES, owner.secret, json={"rows": rows}, headers=LINES))
    assert [item.get("class") for item in found] == ["old", None, "young"]
    assert found[1]["error"]["field"] == "age"


def test_more_rows_than_one_answer_may_have_come_as_lines(site, owner, ages):
    rows = [{"age": 20 + number % 40, "city": "Oslo"} for number in range(10_300)]
    assert site("POST", AGES, owner.secret, json={"rows": rows}).status_code == 413
    found = lines(site("POST", AGES, owner.secret, json={"rows": rows}, headers=LINES))
    assert [item["class"] for item in found] == ["old" if row["age"] > 40 else "young" for row in rows]


def test_one_item_is_one_line(site, owner, shades):
    assert lines(site("POST", SHADES, owner.secret, content=png(0), headers=LINES)) == [
        {"index": 0, "class": "dark", "probability": 1.0}
    ]


@pytest.mark.parametrize(
    ("content", "status"), [(b"", 400), (b"{nonsense", 400), (b'{"images": []}', 400), (b"no picture", 422)]
)
def test_what_cannot_be_answered_at_all_is_refused_with_its_status(site, owner, shades, content, status):
    response = site("POST", SHADES, owner.secret, content=content, headers=LINES)
    assert response.status_code == status
    assert response.json()["error"]["message"]


def test_when_the_replica_dies_between_two_parts_the_last_line_says_so(site, owner, shades, monkeypatch):
    asked = []
    pool, ask = site.gateway.predictions._pool, site.gateway.predictions._pool.ask

    async def once(sockets, question, *rest):
        asked.append(question)
        if len(asked) == 2:
            Replica.objects.update(status=Replica.Status.FAILED)
            return await ask(["/nonexistent/a.sock"], question)
        return await ask(sockets, question, *rest)

    monkeypatch.setattr(pool, "ask", once)
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    found = lines(site("POST", SHADES, owner.secret, files=files(*[png(0)] * 20), headers=LINES))
    assert [item["index"] for item in found] == list(range(9))
    assert found[8]["error"]["code"] == "not_ready"


def test_when_something_breaks_between_two_parts_the_last_line_says_so(site, owner, shades, monkeypatch):
    asked, ask = [], site.gateway.predictions._pool.ask

    async def once(sockets, question, *rest):
        asked.append(question)
        if len(asked) == 2:
            raise RuntimeError("a bug")
        return await ask(sockets, question, *rest)

    monkeypatch.setattr(site.gateway.predictions._pool, "ask", once)
    found = lines(site("POST", SHADES, owner.secret, files=files(*[png(0)] * 20), headers=LINES))
    assert [item["index"] for item in found] == list(range(9))
    assert found[8]["error"]["code"] == "internal_error" and "a bug" not in found[8]["error"]["message"]


def test_when_the_client_hangs_up_the_rest_is_not_computed(site, owner, shades, monkeypatch):
    asked, ask = [], site.gateway.predictions._pool.ask
    body = json.dumps(in_base64(*[png(0)] * 160)).encode()
    incoming = [{"type": "http.request", "body": body}]

    async def count(sockets, question, *rest):
        asked.append(question)
        return await ask(sockets, question, *rest)

    async def receive() -> dict:
        return incoming.pop() if incoming else {"type": "http.disconnect"}

    async def send(_message: dict) -> None:
        pass  # as a server does for a connection that is gone

    monkeypatch.setattr(site.gateway.predictions._pool, "ask", count)
    headers = {"authorization": f"Bearer {owner.secret}", "content-type": "application/json", "accept": LINES["Accept"]}
    scope = {"type": "http", "method": "POST", "path": SHADES, "query_string": b"", "client": ("127.0.0.1", 4000)}
    scope["headers"] = [(name.encode(), value.encode()) for name, value in headers.items()]
    site.runner.run(site.gateway(scope, receive, send))
    assert 1 <= len(asked) < 20, "of twenty parts"


def test_a_client_that_reads_nothing_gives_its_room_back(monkeypatch):
    monkeypatch.setattr(messages, "SEND_SECONDS", 0.01)
    ended = []

    async def numbers():
        try:
            for number in range(3):
                yield b"%d\n" % number
        finally:
            ended.append(True)

    async def send(message: dict) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    async def scenario() -> None:
        stream = messages.Stream(numbers(), "application/x-ndjson")
        with pytest.raises(messages.ClientGone):
            await messages.send_stream(send, stream, await anext(stream.lines))

    asyncio.run(scenario())
    assert ended


def test_batch_sizes_are_counted(site, owner, shades):
    site("POST", SHADES, owner.secret, content=png(0))
    site.runner.run(site.gateway._flush())
    figures = owner.api.get(f"/api/v1/deployments/{shades.pk}/figures/").json()["versions"][0]
    assert (figures["answers"], figures["batch_size"]) == (1, 1.0)
