"""Requests in flight per deployment: counted where they are answered, told to the others in Valkey once a second.

Each web server writes its own numbers, which end by themselves when it does; whoever scales reads the sum of all.
"""

import os
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from apps.core.valkey import valkey

SERVERS = "serving:servers"
KEPT_SECONDS = 5
ALIVE = "alive"


@dataclass
class _Gauge:
    """`area` is the number in flight summed over the time since `looked_at`, up to `changed_at`."""

    looked_at: float
    changed_at: float
    count: int = 0
    area: float = 0.0

    def change(self, by: int, now: float) -> None:
        self.area += self.count * (now - self.changed_at)
        self.count, self.changed_at = self.count + by, now

    def take(self, now: float) -> float:
        self.change(0, now)
        seconds = now - self.looked_at
        mean = self.area / seconds if seconds > 0 else float(self.count)
        self.looked_at, self.area = now, 0.0
        return mean


class InFlight:
    """Counts by deployment. Any thread may count. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._gauges: dict[int, _Gauge] = {}
        self._lock = threading.Lock()

    @contextmanager
    def count(self, deployment_id: int) -> Iterator[None]:
        """One request, from its beginning to its end."""
        self.change(deployment_id, 1)
        try:
            yield
        finally:
            self.change(deployment_id, -1)

    def change(self, deployment_id: int, by: int) -> None:
        """One more, or one less, where `count` cannot stand around it."""
        with self._lock:
            now = self._clock()
            gauge = self._gauges.get(deployment_id)
            if gauge is None:
                gauge = self._gauges[deployment_id] = _Gauge(now, now)
            gauge.change(by, now)

    def take(self) -> dict[int, float]:
        """Deployment -> how many were in flight on average since the last look. One that rests is told of once more."""
        with self._lock:
            now = self._clock()
            means = {key: gauge.take(now) for key, gauge in self._gauges.items()}
            self._gauges = {key: gauge for key, gauge in self._gauges.items() if gauge.count or means[key]}
        return means


IN_FLIGHT = InFlight()
SERVER_NAME = f"{socket.gethostname()}:{os.getpid()}"


def tell(means: Mapping[int, float], *, server: str = SERVER_NAME) -> None:
    """Write what a web server has in flight; it holds for five seconds. Raises redis.RedisError."""
    with valkey().pipeline(transaction=True) as pipeline:
        pipeline.sadd(SERVERS, server)
        pipeline.delete(_key(server))
        pipeline.hset(_key(server), mapping={ALIVE: 1, **{str(key): repr(mean) for key, mean in means.items()}})
        pipeline.expire(_key(server), KEPT_SECONDS)
        pipeline.execute()


def read() -> dict[int, float]:
    """Deployment -> requests in flight on all web servers together. Raises redis.RedisError."""
    servers = sorted(valkey().smembers(SERVERS))
    with valkey().pipeline(transaction=False) as pipeline:
        for server in servers:
            pipeline.hgetall(_key(server))
        told = dict(zip(servers, pipeline.execute(), strict=True))
    if gone := [server for server, fields in told.items() if not fields]:
        valkey().srem(SERVERS, *gone)
    sums: dict[int, float] = defaultdict(float)
    for fields in told.values():
        for name, mean in fields.items():
            if name != ALIVE:
                sums[int(name)] += float(mean)
    return dict(sums)


def _key(server: str) -> str:
    return f"serving:in_flight:{server}"
