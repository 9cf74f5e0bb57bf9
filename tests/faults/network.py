"""The network between the machines of a test and the site's servers, which a test can cut."""

import asyncio
import contextlib
import os
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

BLOCK_BYTES = 2**16


class Loopback:
    """Machines on this host's own addresses; cutting one off cuts its way to the servers only."""

    def __init__(self, number: int, sockets: Sequence[Path]) -> None:
        self.address = f"127.0.0.{number}"
        self.prefix: list[str] = []
        self.cables = [Cable(path) for path in sockets]

    def cut(self) -> None:
        for cable in self.cables:
            cable.cut()

    def mend(self) -> None:
        for cable in self.cables:
            cable.mend()

    def close(self) -> None:
        for cable in self.cables:
            cable.close()


class Bridge:
    """A network of this host, which only root can make; machines are joined to it by wires."""

    def __init__(self) -> None:
        self.name, self.subnet = f"lep{os.getpid()}", f"10.213.{os.getpid() % 250}"
        self.address = f"{self.subnet}.1"
        _ip(f"link add {self.name} type bridge")
        _ip(f"addr add {self.address}/24 dev {self.name}")
        _ip(f"link set {self.name} up")

    def close(self) -> None:
        _ip(f"link del {self.name}")


class Wire:
    """A machine in a network namespace of its own: cut off, it reaches neither the servers nor the other machines."""

    def __init__(self, bridge: Bridge, number: int, sockets: Sequence[Path]) -> None:
        self.name, self.address = f"{bridge.name}-{number}", f"{bridge.subnet}.{number + 1}"
        self.prefix = ["ip", "netns", "exec", self.name]
        _ip(f"netns add {self.name}")
        _ip(f"link add {self.name} type veth peer name eth0 netns {self.name}")
        _ip(f"link set {self.name} master {bridge.name}")
        _ip(f"-n {self.name} addr add {self.address}/24 dev eth0")
        for link in ("lo", "eth0"):
            _ip(f"-n {self.name} link set {link} up")
        self.mend()
        self.cables = [Cable(path, host=bridge.address) for path in sockets]

    def cut(self) -> None:
        _ip(f"link set {self.name} down")

    def mend(self) -> None:
        _ip(f"link set {self.name} up")

    def close(self) -> None:
        for cable in self.cables:
            cable.close()
        _ip(f"netns del {self.name}")


def may_make_networks() -> bool:
    """Whether this account, on this system, may make namespaces and wires."""
    probe = f"lep{os.getpid()}-probe"
    try:
        _ip(f"netns add {probe}")
        _ip(f"netns del {probe}")
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def _ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True, capture_output=True)


class Cable:
    """Relays a TCP port of this host to a server's Unix socket.

    `cut` is what a pulled cable is: nothing arrives on either side any more, not even that the other has gone, and new
    connections get no answer. After `mend` what was under way arrives late, as TCP would send it again.
    """

    def __init__(self, socket_path: Path, *, host: str = "127.0.0.1") -> None:
        self.socket_path, self.host = socket_path, host
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="cable", daemon=True)
        self._thread.start()
        self._whole = asyncio.Event()
        self._server = self._call(asyncio.start_server(self._relay, host, 0))
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.mend()

    def cut(self) -> None:
        self._loop.call_soon_threadsafe(self._whole.clear)

    def mend(self) -> None:
        self._loop.call_soon_threadsafe(self._whole.set)

    def close(self) -> None:
        self._call(self._hang_up())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)

    async def _hang_up(self) -> None:
        self._server.close()
        relays = asyncio.all_tasks() - {asyncio.current_task()}
        for relay in relays:
            relay.cancel()
        await asyncio.gather(*relays, return_exceptions=True)

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=10)

    async def _relay(self, near_reader: asyncio.StreamReader, near_writer: asyncio.StreamWriter) -> None:
        await self._whole.wait()
        try:
            far_reader, far_writer = await asyncio.open_unix_connection(str(self.socket_path))
        except OSError:  # the server is away
            near_writer.close()
            return
        with contextlib.suppress(asyncio.CancelledError):  # hung up; asyncio's streams would tell of it as an error
            await asyncio.gather(self._carry(near_reader, far_writer), self._carry(far_reader, near_writer))

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(BLOCK_BYTES):
                await self._whole.wait()
                sink.write(data)
                await sink.drain()
        await self._whole.wait()
        sink.close()
