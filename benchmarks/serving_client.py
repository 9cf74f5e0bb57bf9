"""Clients in a closed loop, in a process of their own: each asks again as soon as it is answered.

``python -m benchmarks.serving_client`` reads one JSON line {"port", "clients", "seconds", "requests"} from standard
input, where requests are files with the bytes to send, and prints {"latencies", "errors", "seconds"}. HTTP is written
and read by hand, so that the clients take little of the two cores.
"""

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

CONNECT_SECONDS = 30.0
LAST_CHUNK = b"\r\n0\r\n\r\n"


@dataclass
class Run:
    port: int
    requests: list[bytes]
    ends_at: float = 0.0
    latencies: list[float] = field(default_factory=list)
    errors: int = 0


class Client(asyncio.Protocol):
    """One connection that is kept alive."""

    def __init__(self, run: Run, number: int, done: asyncio.Future) -> None:
        self.run, self.number, self.done = run, number, done
        self.buffer = bytearray()
        self.head_bytes, self.expected, self.is_chunked = 0, -1, False

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.send()

    def send(self) -> None:
        self.number += 1
        self.began = time.perf_counter()
        self.transport.write(self.run.requests[self.number % len(self.run.requests)])

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if self.expected < 0 and (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            lines = bytes(self.buffer[:end]).lower().split(b"\r\n")
            lengths = [int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:")]
            self.is_chunked = not lengths
            self.head_bytes, self.expected = end + 4, end + 4 + sum(lengths)
        if 0 <= self.expected <= len(self.buffer) and (not self.is_chunked or self.buffer.endswith(LAST_CHUNK)):
            self.answered()

    def answered(self) -> None:
        now = time.perf_counter()
        self.run.latencies.append(now - self.began)
        if not self.buffer.startswith(b"HTTP/1.1 200"):
            self.run.errors += 1
            if self.run.errors == 1:
                print(bytes(self.buffer[:400]), file=sys.stderr)
        self.buffer.clear()
        self.expected = -1
        if now < self.run.ends_at:
            self.send()
        else:
            self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if time.perf_counter() < self.run.ends_at:
            self.run.errors += 1
        if not self.done.done():
            self.done.set_result(None)


async def drive(run: Run, clients: int, seconds: float) -> float:
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    run.ends_at = began + seconds
    waits = []
    for number in range(clients):
        done = loop.create_future()
        waits.append(done)
        await loop.create_connection(lambda n=number, d=done: Client(run, n * 7, d), "127.0.0.1", run.port)
    await asyncio.wait_for(asyncio.gather(*waits), seconds + CONNECT_SECONDS)
    return time.perf_counter() - began


def main() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        run = Run(asked["port"], [Path(path).read_bytes() for path in asked["requests"]])
        seconds = asyncio.run(drive(run, asked["clients"], asked["seconds"]))
        print(json.dumps({"latencies": run.latencies, "errors": run.errors, "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
