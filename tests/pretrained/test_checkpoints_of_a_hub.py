"""Checkpoints of a hub: the exact commit is written down, large files come to the machine that trains and are checked,
and a hub that is away says what to do. The hub here is a real server on this machine that speaks the same API."""

import hashlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import pytest

from apps.core.storage import open_blob
from apps.jobs.models import Job
from apps.jobs.starts import settle_start
from tests.jobs.making import make_version
from tests.pretrained.making import save_encoder
from workers.artifacts import fetch_start

pytestmark = [pytest.mark.django_db, pytest.mark.xdist_group("pretrained")]

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PATH = "people/tiny-bert"


class Hub:
    """`files` of one model; `asked` are the paths that were asked for, with the token."""

    def __init__(self, folder: Path) -> None:
        self.files = {path.name: path.read_bytes() for path in folder.iterdir()}
        self.asked: list[tuple[str, str]] = []

    def listing(self) -> dict:
        siblings = []
        for name, content in self.files.items():
            item = {"rfilename": name, "size": len(content)}
            if name.endswith(".safetensors"):
                item["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
            siblings.append(item)
        return {"id": PATH, "sha": COMMIT, "siblings": siblings}

    def answer(self, path: str) -> bytes | None:
        if path in (f"/api/models/{PATH}/revision/main", f"/api/models/{PATH}/revision/{COMMIT}"):
            return json.dumps(self.listing()).encode()
        return self.files.get(path.removeprefix(f"/{PATH}/resolve/{COMMIT}/"))


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_encoder(tmp_path_factory.mktemp("hub") / "tiny-bert")


@pytest.fixture
def hub(saved: Path, settings, tmp_path: Path) -> Iterator[Hub]:
    hub = Hub(saved)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            hub.asked.append((path, self.headers.get("Authorization", "")))
            content = hub.answer(path)
            self.send_response(404 if content is None else 200)
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *arguments: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    settings.LEPTON_HUB_URL = f"http://127.0.0.1:{server.server_port}"
    settings.LEPTON_CHECKPOINTS = tmp_path / "checkpoints"
    yield hub
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def messages(team):
    columns = [{"name": "message", "type": "text"}, {"name": "topic", "type": "categorical"}]
    report = {"columns": columns, "splits": {"train": 80, "val": 10}, "text": {"column": "message"}}
    return make_version(team, "Messages", kind="table", task="text_classification", target="topic", report=report)


def start(person, name: str) -> tuple[int, dict]:
    body = {"kind": "train", "dataset": "Messages", "hyperparameters": {"start_from": name}}
    response = person.api.post("/api/v1/jobs/", json.dumps(body), content_type="application/json")
    return response.status_code, response.json()


def test_a_job_keeps_the_exact_commit_and_weights_come_when_it_runs(member, messages, hub, tmp_path):
    status, job = start(member, PATH)
    assert (status, job["hyperparameters"]["start_from"]) == (201, f"{PATH}@{COMMIT}")
    weights = f"/{PATH}/resolve/{COMMIT}/model.safetensors"
    assert weights not in [path for path, _token in hub.asked]
    folder = fetch_start(Job.objects.get(), tmp_path / "start")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == hub.files
    hub.files.clear()  # another machine, or another attempt, gets the same from storage
    again = fetch_start(Job.objects.get(), tmp_path / "again")
    assert (again / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    with open_blob(Job.objects.get().inputs["config.json"]["sha256"]) as file:
        assert json.load(file)["model_type"] == "bert"


def test_weights_that_are_not_those_that_were_listed_are_not_used(member, messages, hub, tmp_path):
    hub.files["model.safetensors"] = b"not stored anywhere yet"
    start(member, PATH)
    hub.files["model.safetensors"] = b"something else"
    with pytest.raises(OSError, match="arrived damaged"):
        fetch_start(Job.objects.get(), tmp_path / "start")
    assert not (tmp_path / "start" / "model.safetensors").exists()


def test_a_revision_can_be_named(member, messages, hub):
    assert start(member, f"{PATH}@{COMMIT}")[0] == 201


@pytest.mark.parametrize("name", ["people/nothing", f"{PATH}@unheard-of"])
def test_what_the_hub_has_not_is_404(member, messages, hub, name):
    status, body = start(member, name)
    assert (status, body["error"]["code"], body["error"]["field"]) == (404, "unknown_checkpoint", "start_from")


def test_pickled_weights_of_a_hub_are_refused_too(member, messages, hub):
    hub.files["pytorch_model.bin"] = hub.files.pop("model.safetensors")
    status, body = start(member, PATH)
    assert (status, body["error"]["code"]) == (422, "pickled_weights")


def test_a_hub_that_cannot_be_reached_says_what_to_do(member, messages, settings, tmp_path):
    settings.LEPTON_HUB_URL, settings.LEPTON_CHECKPOINTS = "http://127.0.0.1:9", tmp_path
    status, body = start(member, PATH)
    assert (status, body["error"]["code"]) == (503, "hub_away")
    assert f"Copy the checkpoint's files into a folder of their own below {tmp_path}" in body["error"]["message"]


def test_a_site_may_use_no_hub(member, messages, settings):
    settings.LEPTON_HUB_URL = ""
    assert start(member, PATH)[1]["error"]["code"] == "hub_away"


def test_a_token_goes_to_the_hub(hub, settings):
    settings.LEPTON_HUB_TOKEN = "hf_secret"
    settle_start(PATH, "text_classification")
    assert {token for _path, token in hub.asked} == {"Bearer hf_secret"}
