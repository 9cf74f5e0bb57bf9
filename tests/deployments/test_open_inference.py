"""The Open Inference Protocol, spoken by Triton's own client and by hand."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton
import uvicorn
from django.core.asgi import get_asgi_application
from tritonclient.utils import InferenceServerException

from apps.deployments.counting import TALLY
from apps.deployments.models import Deployment, Replica
from apps.deployments.rollouts import try_version
from apps.resources.metering import METER
from lepton_site.gateway import Gateway
from tests.deployments.conftest import store_model
from tests.deployments.serving import served
from tests.deployments.site import Site
from tests.inference.models import SIDE, image_model, png, table_model
from tests.inference.processes import serve
from tests.people import Person
from tests.stack import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("gateway")]

BINARY_LENGTH = "Inference-Header-Content-Length"


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


@pytest.fixture
def client() -> Iterator[triton.InferenceServerClient]:
    """Triton's client of a real web server."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(Gateway(get_asgi_application()), lifespan="off", log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
    thread.start()
    wait_until(lambda: server.started, seconds=30, what="the server listens")
    client = triton.InferenceServerClient(f"127.0.0.1:{listener.getsockname()[1]}")
    yield client
    client.close()
    server.should_exit = True
    thread.join(30)


def signed(person: Person) -> dict[str, str]:
    return {"Authorization": f"Bearer {person.secret}"}


def sent(name: str, datatype: str, values: np.ndarray) -> triton.InferInput:
    tensor = triton.InferInput(name, list(values.shape), datatype)
    tensor.set_data_from_numpy(values)
    return tensor


def pixels(*levels: int) -> np.ndarray:
    return np.stack([np.full((SIDE, SIDE, 1), level, dtype=np.uint8) for level in levels])


# Triton's client


def test_pixels_are_sent_and_probabilities_come_back_as_bytes(client, owner, shades):
    result = client.infer("shades", [sent("image", "UINT8", pixels(0, 255))], headers=signed(owner), request_id="7")
    assert result.as_numpy("class").tolist() == [b"dark", b"bright"]
    probabilities = result.as_numpy("probabilities")
    assert (probabilities.dtype, probabilities.shape) == (np.float32, (2, 2))
    assert probabilities.sum(axis=1) == pytest.approx([1, 1])
    answer = result.get_response()
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("7", "shades", "1")


def test_picture_files_are_sent_as_bytes(client, owner, shades):
    files = np.array([png(0), png(255, side=40)], dtype=object)
    result = client.infer("shades", [sent("image", "BYTES", files)], headers=signed(owner))
    assert result.as_numpy("class").tolist() == [b"dark", b"bright"]


def test_columns_are_sent_and_only_what_was_asked_for_comes_back(client, owner, ages):
    inputs = [
        sent("age", "FP64", np.array([55.0, 20.0])),
        sent("city", "BYTES", np.array([b"Oslo", b"Rome"], dtype=object)),
    ]
    outputs = [triton.InferRequestedOutput("class", binary_data=False)]
    result = client.infer("ages", inputs, outputs=outputs, headers=signed(owner))
    assert result.as_numpy("class").tolist() == ["old", "young"]
    assert result.as_numpy("probabilities") is None


def test_the_client_learns_what_a_model_takes_and_gives(client, owner, shades, ages):
    assert client.is_server_live() and client.is_server_ready()
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    assert client.is_model_ready("shades", headers=signed(owner))
    about = client.get_model_metadata("shades", headers=signed(owner))
    assert about["versions"] == ["1"]
    assert about["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, SIDE, SIDE, 1]}]
    assert [item["name"] for item in about["outputs"]] == ["probabilities", "class"]
    columns = client.get_model_metadata("ages", headers=signed(owner))["inputs"]
    assert [(item["name"], item["datatype"]) for item in columns] == [("age", "FP64"), ("city", "BYTES")]


def test_the_client_understands_what_was_wrong(client, owner, shades):
    with pytest.raises(InferenceServerException) as refused:
        client.infer("shades", [sent("image", "UINT8", pixels(0)[:, :4])], headers=signed(owner))
    assert refused.value.status() == "400"
    assert "this model takes UINT8 [N, 8, 8, 1]" in refused.value.message()
    with pytest.raises(InferenceServerException, match="API key"):
        client.infer("shades", [sent("image", "UINT8", pixels(0))])


# By hand


def infer(site: Site, person: Person, path: str = "/v2/models/shades/infer", **more):
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, SIDE, SIDE, 1], "data": pixels(255).tolist()}
    return site("POST", path, person.secret, json={"inputs": [tensor], **more})


def error(response) -> tuple[int, str]:
    """The protocol's form, which has nothing but a sentence."""
    assert list(response.json()) == ["error"]
    return response.status_code, response.json()["error"]


def test_json_is_answered_with_json(site, owner, shades):
    answer = infer(site, owner)
    assert answer.headers["content-type"] == "application/json"
    assert BINARY_LENGTH not in answer.headers
    assert answer.json()["outputs"][1] == {"name": "class", "datatype": "BYTES", "shape": [1], "data": ["bright"]}


def test_a_version_can_be_named(site, owner, shades, image_socket, tmp_path):
    newer = store_model(owner, image_model(tmp_path / "newer", classes=("night", "day")))
    try_version(deployment=shades, user=owner.user, version=newer, weight=1)
    path = "/v2/models/shades/versions/2"
    assert site("GET", f"{path}/ready", owner.secret).status_code == 400
    assert error(infer(site, owner, f"{path}/infer"))[0] == 503
    shades.replicas.filter(version=newer).update(status=Replica.Status.READY, socket_path=image_socket)
    site.gateway.predictions._endpoints.forget((owner.team.pk, "shades"))
    assert site("GET", f"{path}/ready", owner.secret).json() == {"name": "shades", "ready": True}
    assert site("GET", path, owner.secret).json()["versions"] == ["1", "2"]
    answers = [infer(site, owner, f"{path}/infer") for _number in range(5)]
    assert [answer.json()["model_version"] for answer in answers] == ["2"] * 5
    status, message = error(infer(site, owner, "/v2/models/shades/versions/3/infer"))
    assert (status, message) == (404, '"shades" serves no version 3. Ask for one of 1, 2.')


def test_health_asks_for_no_key_and_models_do(site, owner, shades):
    assert site("GET", "/v2/health/live").json() == {"live": True}
    assert site("GET", "/v2/health/ready").json() == {"ready": True}
    assert site("GET", "/v2").json()["name"] == "lepton"
    for path in ("/v2/models/shades", "/v2/models/shades/ready"):
        assert error(site("GET", path))[0] == 401
        assert site("GET", path, owner.secret).status_code == 200
    refused = site("POST", "/v2/models/shades/infer", "lp_wrong", json={})
    assert error(refused)[0] == 401
    assert refused.headers["www-authenticate"] == "Bearer"


def test_another_teams_model_does_not_exist(site, stranger, shades):
    for method, path in (("GET", ""), ("GET", "/ready"), ("POST", "/infer"), ("GET", "/versions/1")):
        assert error(site(method, f"/v2/models/shades{path}", stranger.secret))[0] == 404


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/models", 404),
        ("GET", "/v2/models/", 404),
        ("GET", "/v2/nothing", 404),
        ("GET", "/v2/models/shades/versions/x", 404),
        ("GET", "/v2/models/shades/versions/9999999999", 404),
        ("GET", "/v2/models/shades/explain", 404),
        ("GET", "/v2/models/shades/infer", 405),
        ("POST", "/v2/models/shades", 405),
        ("POST", "/v2/health/live", 405),
    ],
)
def test_other_addresses_are_refused(site, owner, shades, method, path, status):
    assert error(site(method, path, owner.secret))[0] == status


def test_an_address_that_only_begins_alike_is_not_the_protocols(site, owner):
    assert site("GET", "/v2nothing", owner.secret).status_code == 404


@pytest.mark.parametrize(
    ("headers", "body", "status", "said"),
    [
        ({BINARY_LENGTH: "five"}, b"{}", 400, "no whole number"),
        ({BINARY_LENGTH: "5"}, b"{}", 400, "is 5, and the body has 2 bytes"),
        ({"Content-Encoding": "gzip"}, b"{}", 415, "sent as gzip"),
        ({}, b"nonsense", 400, "not JSON"),
        ({}, b"", 400, "the body has 0 bytes"),
        ({}, b'{"inputs": []}', 400, "takes one input; 0 were sent"),
    ],
)
def test_a_request_that_cannot_be_read_is_refused_with_a_sentence(site, owner, shades, headers, body, status, said):
    found, message = error(site("POST", "/v2/models/shades/infer", owner.secret, headers=headers, content=body))
    assert found == status
    assert said in message


def test_without_a_ready_replica_it_says_so(site, owner, shades):
    shades.replicas.update(status=Replica.Status.STARTING)
    assert site("GET", "/v2/models/shades/ready", owner.secret).json() == {"name": "shades", "ready": False}
    refused = infer(site, owner)
    assert error(refused)[0] == 503
    assert "retry-after" in refused.headers


def test_its_answers_are_counted_and_metered_as_any_other(site, owner, shades):
    METER.take(), TALLY.take()
    answer = infer(site, owner)
    assert METER.take() == {(owner.team.pk, "prediction"): len(answer.content)}
    assert [count.answers for count in TALLY.take().values()] == [1]


def test_binary_and_json_questions_that_wait_together_are_each_answered(site, owner, shades):
    async def scenario() -> list:
        tensor = {"name": "i", "datatype": "UINT8", "shape": [1, SIDE, SIDE, 1], "data": pixels(0).tolist()}
        body = json.dumps({"inputs": [tensor]}).encode()
        asked = []
        for _number in range(8):
            asked.append(site.ask("POST", "/v2/models/shades/infer", owner.secret, content=body))
            asked.append(site.ask("POST", "/v1/models/shades/predict", owner.secret, content=png(255)))
        return await asyncio.gather(*asked)

    answers = site.runner.run(scenario())
    assert [item.json()["outputs"][1]["data"] for item in answers[::2]] == [["dark"]] * 8
    assert [item.json()["class"] for item in answers[1::2]] == ["bright"] * 8
