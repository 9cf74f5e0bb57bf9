"""A machine of the pool loses its cable while it serves: what it was asked is asked elsewhere, within seconds."""

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop

from apps.deployments.connections import ANSWER_SECONDS, ConnectionPool, ask_any
from tests.faults.network import Bridge, Wire, may_make_networks
from tests.inference.frames import read_frame
from tests.inference.models import image_model, png
from tests.inference.processes import START_SECONDS, serve
from tests.stack import ROOT, wait_until
from workers.contract import ServeSpec, read_ports, write_spec
from workers.inference.framing import RAW, Frame, Question
from workers.inference.reaching import lane_ports

TOKEN = "0a" * 32


@pytest.fixture
def wire() -> Iterator[Wire]:
    if not may_make_networks():
        pytest.skip("this account may not make networks")
    bridge = Bridge()
    wire = Wire(bridge, 1, [])
    yield wire
    wire.close()
    bridge.close()


@pytest.fixture
def far(wire: Wire, tmp_path: Path) -> Iterator[str]:
    """Where a replica on another machine is asked."""
    folder = tmp_path / "far"
    folder.mkdir()
    model = image_model(folder / "model")
    spec = ServeSpec(str(folder), str(model), str(folder / "s" / "r.sock"), address=wire.address, token=TOKEN)
    write_spec(spec, folder / "spec.json")
    command = [*wire.prefix, sys.executable, "-m", "workers.inference", str(folder / "spec.json")]
    process = subprocess.Popen(command, cwd=ROOT)
    listens = (folder / "port-0").exists
    wait_until(lambda: listens() or process.poll(), seconds=START_SECONDS, what="it listens")
    yield lane_ports(wire.address, read_ports(folder, 1), TOKEN)[0]
    process.terminate()
    process.wait(20)


@pytest.fixture
def near(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "near"
    folder.mkdir()
    yield from serve(folder, image_model)


def test_what_it_was_asked_is_answered_by_another_machine(wire, far, near):
    async def scenario() -> float:
        pool, question = ConnectionPool(), Question(RAW, png())
        assert (await pool.ask([far], question)).status == 200, "a connection is open"
        wire.cut()
        began = time.monotonic()
        assert (await pool.ask([far, near], question)).status == 200
        seconds = time.monotonic() - began
        pool.drop(near)
        return seconds

    assert uvloop.run(scenario()) < ANSWER_SECONDS / 3


@pytest.fixture
def silent() -> Iterator[str]:
    """A machine that takes connections and says nothing: as one that lost its power, only that this one is quick."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield lane_ports("127.0.0.1", [listener.getsockname()[1]], TOKEN)[0]


def test_one_that_can_not_be_reached_is_not_taken_for_a_model_that_takes_long(silent, near):
    question = Question(RAW, png())

    async def scenario() -> int:
        pool = ConnectionPool()
        answer = await pool.ask([silent, near], question)
        pool.drop(near)
        return answer.status

    assert uvloop.run(scenario()) == 200
    assert ask_any([silent, near], question).status == 200


def test_a_connection_that_its_replica_closed_is_not_kept(tmp_path):
    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_frame(reader)
        writer.write(Frame({"status": 200, "seconds": 0.001}, b"{}").encode())
        await writer.drain()
        writer.close()

    async def scenario() -> None:
        pool, path = ConnectionPool(), str(tmp_path / "once.sock")
        async with await asyncio.start_unix_server(answer_once, path):
            await pool.ask([path], Question(RAW, b"?"))
            while pool._idle:
                await asyncio.sleep(0)

    uvloop.run(asyncio.wait_for(scenario(), 20))
