"""Ask an address over and over from several clients at once, and measure. Knows no site and no database.

Each client has one connection and asks again as soon as it is answered (a closed loop), so how much is asked follows
from how fast it is answered. Latencies are from the first byte sent to the last byte read; percentiles are right within
2.5 % (apps/deployments/counting.py).
"""

import asyncio
import ssl
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from apps.deployments.counting import Count

TELL_SECONDS = 1.0
ANSWER_SECONDS = 30.0
PAUSE_SECONDS = 0.2  # after a connection that failed, so that what is down is not hammered
BROKEN = "no answer"


@dataclass(frozen=True)
class Target:
    """`url` is asked by POST with `headers` and `body`."""

    url: str
    headers: Mapping[str, str]
    body: bytes

    def request(self) -> bytes:
        parts = urlsplit(self.url)
        head = {"Host": parts.netloc, "Content-Length": str(len(self.body)), **self.headers}
        lines = [f"POST {parts.path} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items())]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + self.body


@dataclass
class Load:
    """What was measured so far. `statuses` counts answers by status, BROKEN where there was none; `series` is how many
    answers came in each second."""

    counts: Count = field(default_factory=Count)
    statuses: Counter[str] = field(default_factory=Counter)
    series: list[int] = field(default_factory=list)

    def add(self, status: str, seconds: float, elapsed: float) -> None:
        """Only what was answered well has a latency: a refusal is quick, and says nothing of the model."""
        self.statuses[status] += 1
        if status == "200":
            self.counts.note(seconds, is_error=False)
        while len(self.series) <= int(elapsed):
            self.series.append(0)
        self.series[int(elapsed)] += status == "200"

    def figures(self, elapsed: float) -> dict[str, Any]:
        """{"answers", "errors", "per_second", "p50_seconds", "p95_seconds", "p99_seconds", "statuses", "series",
        "elapsed_seconds"}"""
        told = self.counts.figures()
        return {
            "answers": told.answers,
            "errors": sum(self.statuses.values()) - told.answers,
            "per_second": round(told.answers / elapsed, 2) if elapsed else 0.0,
            "p50_seconds": told.p50_seconds,
            "p95_seconds": told.p95_seconds,
            "p99_seconds": told.p99_seconds,
            "statuses": dict(self.statuses),
            "series": self.series,
            "elapsed_seconds": round(elapsed, 2),
        }


async def apply_load(
    target: Target,
    *,
    seconds: float,
    clients: int,
    tell: Callable[[dict[str, Any]], Awaitable[object]],
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """The figures after so many seconds; `tell` gets them about once a second until then."""
    load, began = Load(), clock()

    def elapsed() -> float:
        return clock() - began

    async def report() -> None:
        while True:
            await asyncio.sleep(TELL_SECONDS)
            await tell(load.figures(elapsed()))

    reporting = asyncio.create_task(report())
    try:
        await asyncio.gather(*(_client(target, load, elapsed, seconds) for _ in range(clients)))
    finally:
        reporting.cancel()
        with suppress(asyncio.CancelledError):
            await reporting
    return load.figures(max(elapsed(), 1e-9))


async def _client(target: Target, load: Load, elapsed: Callable[[], float], seconds: float) -> None:
    request, connection = target.request(), None
    while elapsed() < seconds:
        began = elapsed()
        try:
            connection = connection or await _connect(target.url)
            async with asyncio.timeout(ANSWER_SECONDS):
                status, is_open = await _exchange(*connection, request)
            load.add(status, elapsed() - began, elapsed())
            if not is_open:
                connection = _close(connection)
        except (OSError, ValueError, asyncio.IncompleteReadError):
            load.add(BROKEN, 0.0, elapsed())
            connection = _close(connection)
            await asyncio.sleep(PAUSE_SECONDS)
    _close(connection)


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _connect(url: str) -> Connection:
    parts = urlsplit(url)
    is_tls = parts.scheme == "https"
    async with asyncio.timeout(ANSWER_SECONDS):
        return await asyncio.open_connection(
            parts.hostname,
            parts.port or (443 if is_tls else 80),
            ssl=ssl.create_default_context() if is_tls else None,
        )


def _close(connection: Connection | None) -> None:
    if connection is not None:
        connection[1].close()


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> tuple[str, bool]:
    """The status of the answer, and whether the connection stays open. Raises OSError, ValueError."""
    writer.write(request)
    await writer.drain()
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    status = head[0].split(" ", 2)[1]
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    if headers.get("transfer-encoding", "").lower() == "chunked":
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            await reader.readexactly(size + 2)
        await reader.readuntil(b"\r\n")
    else:
        await reader.readexactly(int(headers.get("content-length", "0")))
    return status, headers.get("connection", "").lower() != "close"
