"""The network between a machine and the site's servers, which a test can cut."""

import asyncio
import contextlib
import threading
from pathlib import Path

BLOCK_BYTES = 2**16


class Cable:
    """Relays a TCP port of this host to a server's Unix socket.

    `cut` is what a pulled cable is: nothing arrives on either side any more, not even that the other has gone, and new
    connections get no answer. After `mend` what was under way arrives late, as TCP would send it again.
    """

    def __init__(self, socket_path: Path, *, host: str = "127.0.0.1") -> None:
        self.socket_path = socket_path
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
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=10)

    async def _relay(self, near_reader: asyncio.StreamReader, near_writer: asyncio.StreamWriter) -> None:
        await self._whole.wait()
        try:
            far_reader, far_writer = await asyncio.open_unix_connection(str(self.socket_path))
        except OSError:  # the server is away
            near_writer.close()
            return
        await asyncio.gather(self._carry(near_reader, far_writer), self._carry(far_reader, near_writer))

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(BLOCK_BYTES):
                await self._whole.wait()
                sink.write(data)
                await sink.drain()
        await self._whole.wait()
        sink.close()
