"""Too much, too slow, gone in the middle, hung: nothing grows, nothing is answered wrongly, everybody is told."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from apps.deployments.connections import MAX_IN_FLIGHT, Connection
from apps.deployments.models import Deployment, Replica
from apps.deployments.services import deploy_version
from tests.deployments.conftest import ready_replica, state, store_model, supervise_until
from tests.deployments.serving import served
from tests.inference.frames import read_frame
from tests.inference.models import image_model, png
from tests.people import Person
from workers import replicas
from workers.inference.framing import RAW, BrokenConnection, Frame, Question, ask
from workers.launcher import find_by_token
from workers.tokens import replica_token

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("gateway")]

PREDICT = "/v1/models/shades/predict"


class SlowReplica:
    """Answers each question with its own length once `release` is set; counts who asked and who left."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.release = asyncio.Event()
        self.asked, self.left = 0, asyncio.Event()

    async def serve(self) -> asyncio.Server:
        return await asyncio.start_unix_server(self._converse, self.path)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while frame := await read_frame(reader):
            self.asked += 1
            answering = asyncio.ensure_future(self.release.wait())
            leaving = asyncio.ensure_future(reader.read(1))
            await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
            answering.cancel()
            if leaving.done():
                self.left.set()
                break
            leaving.cancel()
            with suppress(asyncio.CancelledError):
                await leaving
            writer.write(Frame({"status": 200, "seconds": 0.0}, b'{"bytes": %d}' % len(frame.body)).encode())
        writer.close()


@pytest.fixture
def replica(tmp_path: Path) -> SlowReplica:
    return SlowReplica(tmp_path / "slow.sock")


@pytest.fixture
def shades(owner: Person, tmp_path: Path, replica: SlowReplica) -> Deployment:
    return served(owner, store_model(owner, image_model(tmp_path / "shades")), replica.path)


def scope(owner: Person, length: int) -> dict:
    headers = {"authorization": f"Bearer {owner.secret}", "content-length": str(length)}
    return {
        "type": "http",
        "method": "POST",
        "path": PREDICT,
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 4000),
    }


async def until(condition) -> None:
    while not condition():
        await asyncio.sleep(0.005)


def test_twice_as_many_as_may_wait_are_half_answered_and_half_refused_at_once(site, owner, shades, replica):
    async def scenario() -> list[list]:
        async with await replica.serve():
            bodies = [b"x" * (1 + number) for number in range(2 * MAX_IN_FLIGHT)]
            asked = [asyncio.ensure_future(site.ask("POST", PREDICT, owner.secret, content=body)) for body in bodies]
            await until(lambda: sum(task.done() for task in asked) >= MAX_IN_FLIGHT)
            await until(lambda: replica.asked >= MAX_IN_FLIGHT)
            refused = {task.result().status_code for task in asked if task.done()}
            replica.release.set()
            answers = await asyncio.gather(*asked)
            right = [
                answer.json()["bytes"] == len(body)
                for answer, body in zip(answers, bodies, strict=True)
                if answer.status_code == 200
            ]
            return [replica.asked, refused, right]

    asked, refused, right = site.runner.run(scenario())
    assert (asked, refused) == (MAX_IN_FLIGHT, {429})
    assert right == [True] * MAX_IN_FLIGHT
    assert (site.gateway.predictions.room.taken_bytes, len(site.gateway.predictions._pool._in_flight)) == (0, 0)


def test_a_replica_that_hangs_up_before_it_is_asked_is_not_waited_for():
    async def scenario() -> None:
        connection = Connection()
        connection.connection_lost(None)
        with pytest.raises(BrokenConnection):
            await connection.ask(Question(RAW, b"x"))

    asyncio.run(scenario())


def test_a_client_that_sends_a_byte_now_and_then_is_cut_off(site, owner, shades, monkeypatch):
    monkeypatch.setattr("lepton_site.messages.BODY_SECONDS", 0.05)

    async def drip() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.Event().wait()

    response = site("POST", PREDICT, owner.secret, content=drip())
    assert (response.status_code, response.json()["error"]["code"]) == (408, "body_too_slow")
    assert site.gateway.predictions.room.taken_bytes == 0


def test_a_client_that_leaves_in_the_middle_of_its_body_is_forgotten(site, owner, shades, replica):
    messages = iter([{"type": "http.request", "body": b"x", "more_body": True}, {"type": "http.disconnect"}])
    sent: list[dict] = []

    async def receive() -> dict:
        return next(messages)

    async def send(message: dict) -> None:
        sent.append(message)

    site.runner.run(site.app(scope(owner, 100), receive, send))
    assert (sent, replica.asked, site.gateway.predictions.room.taken_bytes) == ([], 0, 0)


def test_a_client_that_leaves_while_the_model_computes_gives_its_place_back(site, owner, shades, replica, monkeypatch):
    monkeypatch.setattr("lepton_site.messages.LOOK_AFTER_SECONDS", 0.0)
    sent: list[dict] = []
    body = [{"type": "http.request", "body": b"x", "more_body": False}]

    async def receive() -> dict:
        if body:
            return body.pop()
        await until(lambda: replica.asked)
        return {"type": "http.disconnect"}

    async def send(message: dict) -> None:
        sent.append(message)

    async def scenario() -> None:
        async with await replica.serve():
            await site.app(scope(owner, 1), receive, send)
            await asyncio.wait_for(replica.left.wait(), 20)

    site.runner.run(scenario())
    assert sent == []
    assert (site.gateway.predictions.room.taken_bytes, len(site.gateway.predictions._pool._in_flight)) == (0, 0)


def test_a_request_that_kills_replicas_kills_two_at_most(site, owner, shades, tmp_path):
    asked: list[str] = []

    async def scenario() -> int:
        async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.append("killed")
            await reader.read(100)
            writer.close()

        servers = [await asyncio.start_unix_server(die, path) for path in paths]
        try:
            return (await site.ask("POST", PREDICT, owner.secret, content=png())).status_code
        finally:
            for server in servers:
                server.close()

    paths = [str(tmp_path / f"{number}.sock") for number in range(4)]
    shades.replicas.all().delete()
    for path in paths:
        Replica.objects.create(deployment=shades, version=shades.version, status=Replica.Status.READY, socket_path=path)
    assert site.runner.run(scenario()) == 503
    assert len(asked) == 2


@pytest.mark.parametrize("lane", [0, -1])
def test_a_replica_that_hangs_is_replaced(owner, version, node, monkeypatch, lane):
    """One of its processes is stopped: it lives, and answers nothing."""
    monkeypatch.setattr(replicas, "PING_SECONDS", 0.2)
    monkeypatch.setattr(replicas, "PING_EVERY_SECONDS", 0.0)
    monkeypatch.setattr("workers.pulse.STILL_SECONDS", 0.5)
    deployment = deploy_version(team=owner.team, user=owner.user, version=version)
    supervise_until(node, lambda: state(deployment).status == "ready", "the deployment is ready")
    first = ready_replica(deployment)
    processes = find_by_token(replica_token(node.name, first.pk))
    sorted(processes, key=psutil.Process.create_time)[lane].send_signal(signal.SIGSTOP)
    ready = deployment.replicas.filter(status=Replica.Status.READY).exclude(pk=first.pk)
    supervise_until(node, lambda: ready.exists(), "another replica is ready")
    first.refresh_from_db()
    assert (first.status, first.reason) == (Replica.Status.FAILED, "Its process lives but no longer answers.")
    assert ask(ready.get().socket_path, Question(RAW, png()), timeout_seconds=20).status == 200
    for process in processes:  # as its agent does when they have not ended after the time they are given
        with suppress(psutil.NoSuchProcess):
            process.kill()
