"""The inference program: a process that answers on a socket, whatever it is sent."""

import base64
import json
import os
import signal
import socket
import stat
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.inference.models import image_model, png, table_model
from tests.inference.processes import START_SECONDS, launch, serve
from tests.stack import wait_until
from workers.contract import EXIT_FAILED, read_events
from workers.inference.framing import JSON, LENGTHS, PING, RAW, SAMPLE, Frame, Question, ask

pytestmark = pytest.mark.xdist_group("inference")


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Iterator[str]:
    yield from serve(tmp_path_factory.mktemp("images"), image_model)


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Iterator[str]:
    yield from serve(tmp_path_factory.mktemp("table"), table_model)


def answer(path: str, content: str, body: bytes = b"", top_k: int | None = None) -> tuple[int, dict]:
    frame = ask(path, Question(content, body, top_k), timeout_seconds=20)
    return frame.status, json.loads(frame.body)


def rows(path: str, value: object) -> tuple[int, dict]:
    return answer(path, JSON, json.dumps(value).encode())


def test_a_picture_gets_its_class_and_probability(images):
    assert answer(images, RAW, png(255))[1]["class"] == "bright"
    status, outcome = answer(images, RAW, png(0))
    assert status == 200 and outcome["class"] == "dark" and outcome["probability"] > 0.99
    assert set(outcome) == {"class", "probability"}


def test_top_k_gives_the_classes_best_first(images):
    outcome = answer(images, RAW, png(140), top_k=2)[1]
    assert [item["class"] for item in outcome["classes"]] == ["bright", "dark"]
    assert sum(item["probability"] for item in outcome["classes"]) == pytest.approx(1, abs=1e-4)


def test_a_picture_may_come_as_base64(images):
    body = json.dumps({"image": base64.b64encode(png(0)).decode()}).encode()
    assert answer(images, JSON, body)[1]["class"] == "dark"


@pytest.mark.parametrize(
    ("content", "body", "status", "code"),
    [
        (RAW, b"", 400, "empty_body"),
        (RAW, b"hello, I am a text", 422, "undecodable_image"),
        (RAW, png()[:40], 422, "undecodable_image"),
        (RAW, png(side=1), 422, "image_too_small"),
        (JSON, b"{}", 400, "invalid_request"),
        (JSON, b"{nonsense", 400, "invalid_json"),
        (JSON, b"[" * 100_000, 400, "invalid_json"),
        (JSON, b'{"image": "%%%"}', 422, "invalid_base64"),
    ],
)
def test_a_bad_picture_gets_a_sentence_and_the_process_lives(images, content, body, status, code):
    found, payload = answer(images, content, body)
    assert (found, payload["error"]["code"]) == (status, code)
    assert len(payload["error"]["message"]) > 20
    assert answer(images, SAMPLE)[0] == 200


def test_bad_pictures_do_not_spoil_those_that_wait_with_them(images):
    bodies = [png(0), b"no picture", png(255), b""] * 8
    found: dict[int, tuple[int, dict]] = {}
    threads = [
        threading.Thread(target=lambda n=n, body=body: found.__setitem__(n, answer(images, RAW, body)))
        for n, body in enumerate(bodies)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = [(200, "dark"), (422, None), (200, "bright"), (400, None)] * 8
    assert [(found[n][0], found[n][1].get("class")) for n in range(len(bodies))] == expected


def test_what_is_no_frame_closes_that_connection_only(images):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(images)
        connection.sendall(LENGTHS.pack(2**31, 2**31))
        assert connection.recv(10) == b""
    assert answer(images, PING)[0] == 200


def test_one_connection_carries_many_questions(images):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(images)
        with connection.makefile("rb") as file:
            for _number in range(3):
                connection.sendall(Frame({"content": SAMPLE, "top_k": None}).encode())
                head, body = LENGTHS.unpack(file.read(LENGTHS.size))
                assert json.loads(file.read(head))["status"] == 200
                assert json.loads(file.read(body))["class"] == "bright"


def test_the_socket_is_private(images):
    assert stat.S_IMODE(os.stat(os.path.dirname(images)).st_mode) == 0o700


def test_a_row_gets_its_class(table):
    assert rows(table, {"row": {"age": 55, "city": "Oslo"}})[1]["class"] == "old"
    outcome = rows(table, {"rows": [{"age": "25", "city": "Rome"}, {"age": 59, "city": None}]})[1]
    assert [item["class"] for item in outcome["predictions"]] == ["young", "old"]


@pytest.mark.parametrize(
    ("value", "status", "code", "field"),
    [
        ({"row": {"city": "Oslo"}}, 422, "missing_column", "age"),
        ({"row": {"age": "many", "city": "Oslo"}}, 422, "wrong_type", "age"),
        ({"rows": [{"age": 1, "city": "Oslo"}, 7]}, 422, "invalid_row", None),
        ({"rows": []}, 400, "invalid_request", "row"),
        ({"rows": [{}] * 10_001}, 413, "too_many_rows", "rows"),
        ({}, 400, "invalid_request", "row"),
        ([1], 400, "invalid_request", None),
    ],
)
def test_a_bad_row_gets_a_sentence_with_its_column(table, value, status, code, field):
    found, payload = rows(table, value)
    assert (found, payload["error"]["code"], payload["error"].get("field")) == (status, code, field)
    assert answer(table, SAMPLE)[0] == 200


def test_a_regression_gives_a_value(tmp_path):
    server = serve(tmp_path, lambda folder: table_model(folder, task="tabular_regression"))
    path = next(server)
    assert rows(path, {"row": {"age": 55, "city": "Oslo"}})[1] == {"value": 1.0}
    assert next(server, None) is None


@pytest.mark.parametrize("name", ["model.onnx", "meta.json", "sample.png"])
def test_a_damaged_model_says_so_and_does_not_serve(tmp_path, name):
    model_dir = image_model(tmp_path / "model")
    (model_dir / name).write_bytes(b"damaged")
    process, path = launch(tmp_path, model_dir)
    assert process.wait(START_SECONDS) == EXIT_FAILED
    failure = [event for event, _offset in read_events(tmp_path / "events.jsonl")][-1]
    assert failure["type"] == "failure" and failure["code"] in ("damaged_model", "cannot_predict")
    assert not os.path.exists(path)


def test_it_is_ready_without_torch_and_leaves_at_sigterm(tmp_path):
    process, path = launch(tmp_path, image_model(tmp_path / "model"))
    wait_until(lambda: os.path.exists(path), seconds=START_SECONDS, what="the socket is there")
    if sys.platform == "linux":
        assert "libtorch" not in Path(f"/proc/{process.pid}/maps").read_text()
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
