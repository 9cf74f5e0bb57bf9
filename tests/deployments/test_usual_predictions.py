"""The usual prediction over a connection of its own: answered without ASGI, and no worse than through it."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvicorn
from django.core.asgi import get_asgi_application
from uvicorn.server import ServerState

from apps.accounts.models import ApiKey
from apps.deployments.connections import MAX_IN_FLIGHT
from apps.deployments.counting import TALLY
from apps.deployments.in_flight import IN_FLIGHT
from apps.deployments.models import Deployment, Replica
from apps.resources.metering import METER
from lepton_site.gateway import Gateway
from lepton_site.messages import BodyLimit
from lepton_site.protocol import MOST_BYTES, PredictionProtocol
from tests.deployments.conftest import store_model
from tests.deployments.serving import served
from tests.inference.frames import read_frame
from tests.inference.models import image_model, png
from tests.inference.processes import serve
from tests.people import Person
from workers.inference.framing import Frame

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("gateway")]

Scenario = Callable[["Server"], Awaitable[None]]


class Server:
    """What `up` starts, in this process. `through_asgi` are the paths of the requests that uvicorn handed on."""

    def __init__(self) -> None:
        self.gateway = Gateway(get_asgi_application())
        for cache in (self.gateway.predictions._keys, self.gateway.predictions._endpoints):
            cache._seconds = 60  # however slow this machine is
        self.through_asgi: list[str] = []

    async def _application(self, scope, receive, send) -> None:
        self.through_asgi.append(scope["path"])
        await BodyLimit(self.gateway)(scope, receive, send)

    @property
    def is_at_rest(self) -> bool:
        predictions = self.gateway.predictions
        return not (predictions.room.taken_bytes or predictions._pool._in_flight)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        class Protocol(PredictionProtocol):
            predictions = self.gateway.predictions

        config = uvicorn.Config(
            self._application, interface="asgi3", http=Protocol, lifespan="off", access_log=False, log_level="warning"
        )
        config.load()
        state = ServerState()
        loop = asyncio.get_running_loop()
        async with await loop.create_server(lambda: Protocol(config, state, {}), "127.0.0.1", 0) as server:
            self.port = server.sockets[0].getsockname()[1]
            yield
            await until(lambda: not state.connections)


class Client:
    """One connection."""

    def __init__(self, server: Server, secret: str, name: str = "shades") -> None:
        self._server, self._secret, self._name = server, secret, name

    async def __aenter__(self) -> "Client":
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._server.port)
        return self

    async def __aexit__(self, *_details: object) -> None:
        self.writer.close()

    def request(self, body: bytes, **headers: str) -> bytes:
        sent = {"Authorization": f"Bearer {self._secret}", "Host": "lepton", "Content-Length": str(len(body))}
        lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in (sent | headers).items()]
        return f"POST /v1/models/{self._name}/predict HTTP/1.1\r\n{''.join(lines)}\r\n".encode() + body

    async def ask(self, body: bytes, **headers: str) -> tuple[int, dict[str, str], dict]:
        self.writer.write(self.request(body, **headers))
        return await self.answer()

    async def answer(self) -> tuple[int, dict[str, str], dict]:
        status, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        body = await self.reader.readexactly(int(headers["content-length"]))
        return int(status.split()[1]), headers, json.loads(body)


class StubReplica:
    """Answers with the length of what it was sent; `dies` when it is asked, or waits until `release` is set."""

    def __init__(self, path: Path, *, dies: bool = False) -> None:
        self.path, self.dies = str(path), dies
        self.asked, self.left, self.release = 0, asyncio.Event(), asyncio.Event()
        self.release.set()

    async def serve(self) -> asyncio.Server:
        return await asyncio.start_unix_server(self._converse, self.path)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while frame := await read_frame(reader):
            self.asked += 1
            if self.dies and self.asked > 1:  # the first opens the connection
                break
            waits = {asyncio.ensure_future(self.release.wait()), asyncio.ensure_future(reader.read(1))}
            done, others = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for other in others:
                other.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            if not self.release.is_set():
                self.left.set()
                break
            writer.write(Frame({"status": 200, "seconds": 0.001}, b'{"bytes": %d}' % len(frame.body)).encode())
        writer.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture(scope="module")
def image_socket(tmp_path_factory) -> Iterator[str]:
    yield from serve(tmp_path_factory.mktemp("images"), image_model)


@pytest.fixture
def replica(tmp_path: Path) -> StubReplica:
    return StubReplica(tmp_path / "stub.sock")


@pytest.fixture
def shades(owner: Person, tmp_path: Path, replica: StubReplica) -> Deployment:
    return served(owner, store_model(owner, image_model(tmp_path / "shades")), replica.path)


def play(scenario: Scenario, *replicas: StubReplica) -> Server:
    """Returns the server after it, which has nothing in hand any more."""
    server = Server()

    async def whole() -> None:
        listening = [await replica.serve() for replica in replicas]
        async with server.listening():
            await scenario(server)
        for each in listening:
            each.close()

    asyncio.run(whole())
    server.gateway.predictions._threads.shutdown()
    assert server.is_at_rest
    assert not any(gauge.count for gauge in IN_FLIGHT._gauges.values())
    return server


def test_only_the_first_request_goes_through_asgi_and_all_say_the_same(owner, tmp_path, image_socket):
    served(owner, store_model(owner, image_model(tmp_path / "shades")), image_socket)
    METER.take(), TALLY.take()
    answers = []

    async def scenario(server: Server) -> None:
        async with Client(server, owner.secret) as client:
            answers.extend([await client.ask(png(255)) for _ in range(3)])
            answers.append(await client.ask(b"no picture"))

    server = play(scenario)
    assert server.through_asgi == ["/v1/models/shades/predict"]
    (status, headers, body), *others, (bad_status, _headers, bad) = answers
    assert (status, body["class"]) == (200, "bright")
    assert [(other[0], other[2]) for other in others] == [(200, body)] * 2
    assert all(other[1].keys() == headers.keys() for other in others)
    assert headers["lepton-version"] == "1" and headers["cache-control"] == "no-store"
    assert (bad_status, bad["error"]["code"]) == (422, "undecodable_image")
    sizes = sum(len(json.dumps(answer[2]).encode()) for answer in answers)
    assert sum(METER.take().values()) == sizes
    assert [(count.answers, count.errors) for count in TALLY.take().values()] == [(4, 0)]


def test_what_is_not_usual_goes_through_asgi_and_is_answered(owner, shades, replica):
    form = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nxyz\r\n--b--\r\n'

    async def scenario(server: Server) -> None:
        async with Client(server, owner.secret) as client:
            await client.ask(b"x")
            assert (await client.ask(form, Content_Type="multipart/form-data; boundary=b"))[2] == {"bytes": 3}
            assert (await client.ask(b"x" * (MOST_BYTES + 1)))[2] == {"bytes": MOST_BYTES + 1}
            client.writer.write(client.request(b"x" * 9, Expect="100-continue"))
            assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            assert (await client.answer())[2] == {"bytes": 9}
            assert len(server.through_asgi) == 4
            assert (await client.ask(b"x" * MOST_BYTES))[2] == {"bytes": MOST_BYTES}
            assert len(server.through_asgi) == 4

    play(scenario, replica)


def test_questions_that_follow_each_other_without_waiting_are_answered_in_order(owner, shades, replica):
    async def scenario(server: Server) -> None:
        async with Client(server, owner.secret) as client:
            await client.ask(b"x")
            client.writer.write(b"".join(client.request(b"x" * size) for size in (300, 20, 1)))
            assert [(await client.answer())[2]["bytes"] for _ in range(3)] == [300, 20, 1]

    play(scenario, replica)


def test_a_body_that_comes_in_pieces_is_put_together(owner, shades, replica):
    async def scenario(server: Server) -> None:
        async with Client(server, owner.secret) as client:
            await client.ask(b"x")
            request = client.request(b"abc" * 1000)
            for start in range(0, len(request), 700):
                client.writer.write(request[start : start + 700])
                await asyncio.sleep(0)
            assert (await client.answer())[2] == {"bytes": 3000}
            assert len(server.through_asgi) == 1

    play(scenario, replica)


def test_a_body_that_does_not_come_is_given_up(owner, shades, replica, monkeypatch):
    monkeypatch.setattr("lepton_site.messages.BODY_SECONDS", 0.05)

    async def scenario(server: Server) -> None:
        async with Client(server, owner.secret) as client:
            await client.ask(b"x")
            client.writer.write(client.request(b"x" * 100)[:-1])
            status, headers, body = await client.answer()
            assert (status, body["error"]["code"]) == (408, "body_too_slow")
            assert headers["connection"] == "close" and await client.reader.read() == b""
            assert replica.asked == 1

    play(scenario, replica)


def test_the_limit_of_a_key_counts_what_is_answered_and_nothing_that_is_refused(owner, shades, replica):
    ApiKey.objects.update(requests_per_minute=4)
    Deployment.objects.update(requests_per_minute=3)

    async def scenario(server: Server) -> None:
        async with Client(server, owner.secret) as client:
            statuses = [(await client.ask(b"x"))[0] for _ in range(6)]
            assert statuses == [200] * 3 + [429] * 3
            limiter = server.gateway.predictions._limiter
            assert [window.count for window in limiter._windows.values()] == [3, 3]

    play(scenario, replica)
    assert replica.asked == 3


def test_an_unknown_key_and_a_foreign_one_are_refused(owner, stranger, shades, replica):
    async def scenario(server: Server) -> None:
        async with Client(server, owner.secret) as client, Client(server, stranger.secret) as foreign:
            await client.ask(b"x")
            for _ in range(2):
                assert (await client.ask(b"x", Authorization="Bearer lp_none"))[0] == 401
                assert (await client.ask(b"x", Authorization="none"))[0] == 401
                assert (await foreign.ask(b"x"))[0] == 404

    play(scenario, replica)
    assert replica.asked == 1


def test_a_key_that_was_revoked_is_known_no_longer_than_the_cache_lasts(owner, shades, replica):
    async def scenario(server: Server) -> None:
        async with Client(server, owner.secret) as client:
            await client.ask(b"x")
            assert server.gateway.predictions.known(owner.secret, "shades")
            server.gateway.predictions._keys._seconds = 0  # from the next look-up on
            server.gateway.predictions._keys.forget(owner.secret)
            await client.ask(b"x")
            assert not server.gateway.predictions.known(owner.secret, "shades")

    play(scenario, replica)


def test_addresses_are_checked_and_those_that_a_proxy_tells_are_believed(owner, shades, replica):
    Deployment.objects.update(allowed_networks=["10.0.0.0/8"])

    async def scenario(server: Server) -> None:
        async with Client(server, owner.secret) as client:
            for _ in range(2):
                assert (await client.ask(b"x", X_Forwarded_For="10.1.2.3"))[0] == 200
                assert (await client.ask(b"x"))[0] == 403
        await Deployment.objects.aupdate(allowed_networks=["127.0.0.1"])
        server.gateway.predictions._endpoints.forget((owner.team.pk, "shades"))
        async with Client(server, owner.secret) as client:
            for _ in range(2):
                assert (await client.ask(b"x"))[0] == 200
                assert (await client.ask(b"x", X_Forwarded_For="10.1.2.3"))[0] == 403

    play(scenario, replica)


@pytest.mark.parametrize(("dying", "living", "outcome"), [(1, 1, (200, 1)), (3, 1, (503, 2)), (1, 0, (503, 1))])
def test_a_replica_that_dies_when_it_is_asked_is_tried_once_more_elsewhere(
    owner, shades, tmp_path, dying, living, outcome
):
    replicas = [StubReplica(tmp_path / f"{number}.sock", dies=number >= living) for number in range(living + dying)]
    Replica.objects.all().delete()
    found = []

    def serve_by(chosen: list[StubReplica]) -> None:
        """The last of them is asked first."""
        Replica.objects.all().delete()
        for each in chosen:
            served = {"deployment": shades, "version": shades.version, "socket_path": each.path}
            Replica.objects.create(**served, status=Replica.Status.READY)

    async def scenario(server: Server) -> None:
        predictions = server.gateway.predictions
        async with Client(server, owner.secret) as client:
            for chosen in ([each] for each in replicas):  # from now on it has an open connection
                await predictions.in_thread(serve_by)(chosen)
                predictions._endpoints.forget((owner.team.pk, "shades"))
                await client.ask(b"x")
            await predictions.in_thread(serve_by)(replicas)
            predictions._endpoints.forget((owner.team.pk, "shades"))
            await predictions.admit(owner.secret, "shades", "127.0.0.1", 0)
            found.append((await client.ask(b"four"))[0])
            assert len(server.through_asgi) == len(replicas)

    play(scenario, *replicas)
    killed = sum(each.asked - 1 for each in replicas[living:])
    assert (found[0], killed) == outcome


def test_a_model_that_does_not_answer_in_time_is_an_error_and_not_asked_again(owner, shades, replica, monkeypatch):
    monkeypatch.setattr("apps.deployments.connections.ANSWER_SECONDS", 0.2)
    TALLY.take()

    async def scenario(server: Server) -> None:
        async with Client(server, owner.secret) as client:
            await client.ask(b"x")
            replica.release.clear()
            status, _headers, body = await client.ask(b"x")
            assert (status, body["error"]["code"]) == (503, "prediction_timed_out")
            await replica.left.wait()
            assert len(server.through_asgi) == 1

    play(scenario, replica)
    assert replica.asked == 2
    assert [(count.answers, count.errors) for count in TALLY.take().values()] == [(2, 1)]


def test_of_a_client_that_leaves_nothing_is_left(owner, shades, replica):
    async def scenario(server: Server) -> None:
        async with Client(server, owner.secret) as other:
            await other.ask(b"x")
            replica.release.clear()
            async with Client(server, owner.secret) as client:
                client.writer.write(client.request(b"x"))
                await until(lambda: replica.asked == 2)
            await replica.left.wait()
            async with Client(server, owner.secret) as client:
                client.writer.write(client.request(b"x" * 100)[:-1])
                await until(lambda: server.gateway.predictions.room.taken_bytes == 100)
            await until(lambda: server.is_at_rest)

    play(scenario, replica)
    assert replica.asked == 2


def test_more_than_a_replica_may_have_at_once_are_refused_at_once(owner, shades, replica):
    async def scenario(server: Server) -> None:
        async with Client(server, owner.secret) as first:
            await first.ask(b"x")
            replica.release.clear()
            clients = [await Client(server, owner.secret).__aenter__() for _ in range(MAX_IN_FLIGHT)]
            for client in clients:
                client.writer.write(client.request(b"x"))
            await until(lambda: replica.asked == 1 + MAX_IN_FLIGHT)
            status, headers, body = await first.ask(b"x")
            assert (status, body["error"]["code"]) == (429, "overloaded") and headers["retry-after"]
            replica.release.set()
            assert {(await client.answer())[0] for client in clients} == {200}
            for client in clients:
                client.writer.close()

    play(scenario, replica)
