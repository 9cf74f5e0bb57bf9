"""A load test is started, asks as programs do, and leaves its figures; it is bounded, and what is lost is given up."""

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from django.utils import timezone

from apps.accounts.models import ApiKey
from apps.accounts.services import create_api_key
from apps.core.errors import Conflict, Unprocessable
from apps.deployments import load_tests
from apps.deployments.load_tests import run_load_test, sample_body, start_load_test
from apps.deployments.loading import BROKEN, Load, Target, apply_load
from apps.deployments.models import LoadTest
from apps.deployments.tasks import give_up_load_tests
from tests.deployments.conftest import store_model
from tests.deployments.serving import served
from tests.inference.models import image_model, table_model, text_model

pytestmark = pytest.mark.django_db


@pytest.fixture
def deployment(owner, version):
    return served(owner, version, "/nowhere")


@asynccontextmanager
async def answering(*answers: bytes):
    """A server that gives these answers in turn, the last one for ever; yields its address and what it was asked."""
    asked = []

    async def serve(reader, writer):
        while not reader.at_eof():
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                break
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            asked.append(head + await reader.readexactly(length))
            writer.write(answers[min(len(asked), len(answers)) - 1])
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/models/a/predict", asked


def ticking(step: float):
    """A clock that goes on by `step` seconds whenever it is read."""
    moments = iter(range(10**9))
    return lambda: next(moments) * step


def load(*answers: bytes, seconds: float = 1.0, clients: int = 1, step: float = 0.01) -> tuple[dict, list[bytes]]:
    async def tell(_figures):
        pass

    async def main():
        async with answering(*answers) as (url, asked):
            target = Target(url, {"Authorization": "Bearer lp_x"}, b'{"row": {}}')
            figures = await apply_load(target, seconds=seconds, clients=clients, tell=tell, clock=ticking(step))
            return figures, asked

    return asyncio.run(main())


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"
BUSY = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 2\r\n\r\n{}"


@pytest.mark.parametrize("answer", [OK, CHUNKED], ids=["whole", "in chunks"])
def test_every_answer_is_counted_with_its_latency(answer):
    figures, asked = load(answer)
    assert figures["answers"] == len(asked) > 10 and figures["errors"] == 0
    assert sum(figures["series"]) == figures["answers"]
    assert figures["per_second"] == pytest.approx(figures["answers"] / figures["elapsed_seconds"], rel=0.01)
    assert 0 < figures["p50_seconds"] <= figures["p95_seconds"] <= figures["p99_seconds"]
    assert asked[0].startswith(b"POST /v1/models/a/predict HTTP/1.1\r\n") and b"Bearer lp_x" in asked[0]


def test_what_is_refused_is_an_error_and_has_no_latency():
    figures, _asked = load(OK, BUSY)
    assert figures["statuses"]["200"] == 1 and figures["errors"] == figures["statuses"]["429"] > 1
    assert figures["answers"] == 1


def test_a_connection_that_breaks_is_an_error_and_the_client_goes_on():
    figures, _asked = load(OK, b"no http at all\r\n\r\n", OK, seconds=0.5)
    assert figures["errors"] >= 1 and figures["answers"] >= 2


def test_where_nobody_listens_everything_is_an_error():
    async def main():
        return await apply_load(
            Target("http://127.0.0.1:1/predict", {}, b""), seconds=0.05, clients=2, tell=None, clock=ticking(0.01)
        )

    figures = asyncio.run(main())
    assert figures["answers"] == 0 and set(figures["statuses"]) == {BROKEN}


def test_percentiles_are_those_of_what_was_measured():
    measured = Load()
    for number in range(1, 101):
        measured.add("200", number / 1000, 0.5)
    told = measured.figures(2.0)
    assert told["p50_seconds"] == pytest.approx(0.050, rel=0.03) and told["p99_seconds"] == pytest.approx(
        0.099, rel=0.03
    )
    assert told["per_second"] == 50.0


def test_from_the_page_to_the_table_of_past_runs(owner, deployment, monkeypatch):
    asked = []

    async def measured(target, *, seconds, clients, tell):
        asked.append((target, seconds, clients, ApiKey.objects.filter(name="Load test").exists))
        figures = Load().figures(1.0) | {"answers": 100, "per_second": 512.0, "p50_seconds": 0.002}
        await tell(figures)
        return figures

    monkeypatch.setattr(load_tests, "apply_load", measured)
    monkeypatch.setattr(load_tests, "_teller", lambda test: lambda figures: asyncio.sleep(0))
    path = f"/deployments/{deployment.pk}/load-test/"
    assert owner.page.post(path, {"seconds": 5, "clients": 3}).status_code == 302
    test = LoadTest.objects.get()
    page = owner.page.get(f"/deployments/{deployment.pk}/").content.decode()
    assert "3 clients for 5 s" in page and 'hx-trigger="every 1s"' in page
    run_load_test(test.pk)
    run_load_test(test.pk)
    assert len(asked) == 1, "one that was claimed is not run again"
    target = asked[0][0]
    assert target.url == "http://127.0.0.1:8000/v1/models/shades/predict" and asked[0][1:3] == (5, 3)
    assert target.headers["Authorization"].startswith("Bearer lp_")
    assert not ApiKey.objects.filter(name="Load test").exists(), "its key goes with it"
    page = owner.page.get(f"/deployments/{deployment.pk}/").content.decode()
    assert "512" in page and "2.0 ms" in page and 'hx-trigger="every 1s"' not in page


@pytest.mark.parametrize(("seconds", "clients"), [(61, 1), (0, 1), (1, 33), (1, 0)])
def test_it_is_bounded(owner, deployment, seconds, clients):
    with pytest.raises(Unprocessable):
        start_load_test(deployment=deployment, user=owner.user, seconds=seconds, clients=clients)
    sent = {"seconds": seconds, "clients": clients}
    assert owner.page.post(f"/deployments/{deployment.pk}/load-test/", sent).status_code == 422
    assert not LoadTest.objects.exists()


def test_one_runs_at_a_time_and_one_that_was_lost_is_given_up(owner, deployment):
    first = start_load_test(deployment=deployment, user=owner.user)
    with pytest.raises(Conflict) as caught:
        start_load_test(deployment=deployment, user=owner.user)
    assert caught.value.code == "already_running"
    LoadTest.objects.update(updated_at=timezone.now() - timedelta(minutes=2))
    start_load_test(deployment=deployment, user=owner.user)
    first.refresh_from_db()
    assert first.status == "failed" and "was lost" in first.reason


def running_with_a_key(owner, deployment) -> LoadTest:
    """One whose process was ended in the middle."""
    test = start_load_test(deployment=deployment, user=owner.user)
    key, _secret = create_api_key(team=owner.team, user=owner.user, name="Load test")
    LoadTest.objects.update(status="running", api_key=key, updated_at=timezone.now() - timedelta(minutes=2))
    return test


def test_the_key_of_one_that_was_lost_goes_also_where_nobody_looks(owner, deployment):
    test = running_with_a_key(owner, deployment)
    give_up_load_tests()
    test.refresh_from_db()
    assert test.status == "failed" and not ApiKey.objects.filter(name="Load test").exists()


def test_the_key_of_one_goes_with_the_deployment(owner, deployment):
    running_with_a_key(owner, deployment)
    assert owner.page.post(f"/deployments/{deployment.pk}/delete/").status_code == 302
    assert not ApiKey.objects.filter(name="Load test").exists()


def test_a_key_that_cannot_be_noted_is_not_left_behind(owner, deployment, monkeypatch):
    test = start_load_test(deployment=deployment, user=owner.user)

    def ended(*_args, **_options) -> None:
        raise SystemExit

    monkeypatch.setattr(LoadTest, "save", ended)
    with pytest.raises(SystemExit):
        run_load_test(test.pk)
    assert not ApiKey.objects.filter(name="Load test").exists()


def test_where_nothing_is_ready_there_is_nothing_to_measure(owner, deployment):
    deployment.replicas.all().delete()
    with pytest.raises(Conflict) as caught:
        start_load_test(deployment=deployment, user=owner.user)
    assert caught.value.code == "not_ready"


def test_only_those_who_may_write_in_the_team_start_one(viewer, stranger, deployment):
    path = f"/deployments/{deployment.pk}/load-test/"
    assert viewer.page.post(path, {"seconds": 5, "clients": 3}).status_code == 403
    assert stranger.page.post(path, {"seconds": 5, "clients": 3}).status_code == 404
    api = f"/api/v1/deployments/{deployment.pk}/load-tests/"
    assert stranger.api.get(api).status_code == 404
    assert viewer.api.post(api, {}, content_type="application/json").status_code == 403


def test_by_rest(owner, deployment):
    api = f"/api/v1/deployments/{deployment.pk}/load-tests/"
    made = owner.api.post(api, {"seconds": 2, "clients": 2}, content_type="application/json")
    assert made.status_code == 201 and made.json()["status"] == "queued"
    assert owner.api.get(api).json()["results"][0]["id"] == made.json()["id"]
    assert owner.api.post(api, {"seconds": 2}, content_type="application/json").status_code == 409


def test_what_goes_wrong_stands_in_the_table(owner, deployment, monkeypatch):
    test = start_load_test(deployment=deployment, user=owner.user)
    monkeypatch.setattr(load_tests, "_target", lambda test: (_ for _ in ()).throw(RuntimeError("no such sample")))
    run_load_test(test.pk)
    assert "no such sample" in owner.page.get(f"/deployments/{deployment.pk}/").content.decode()


def test_the_sample_is_sent_as_clients_send_it(owner, tmp_path):
    content_type, body = sample_body(store_model(owner, image_model(tmp_path / "a"), "a"))
    assert content_type == "application/octet-stream" and body.startswith(b"\x89PNG")
    _type, body = sample_body(store_model(owner, table_model(tmp_path / "b"), "b"))
    assert set(json.loads(body)["row"]) == {"age", "city"}
    content_type, body = sample_body(store_model(owner, text_model(tmp_path / "c"), "c"))
    assert content_type == "application/json" and json.loads(body) == {"text": "a good lamp"}


def test_a_model_that_recommends_is_asked_about_a_user(owner, tmp_path):
    folder = image_model(tmp_path / "a")
    meta = json.loads((folder / "meta.json").read_text()) | {"task": "recommendation", "sample": "sample.json"}
    (folder / "meta.json").write_text(json.dumps(meta))
    (folder / "sample.json").write_text(json.dumps({"user": "u7", "k": 10}))
    content_type, body = sample_body(store_model(owner, folder, "films"))
    assert (content_type, json.loads(body)) == ("application/json", {"user": "u7", "k": 10})
