"""What the gateway and the demo page need to know of a deployment to ask it."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from apps.core.errors import Unavailable
from apps.deployments.connections import NOT_READY, ask_any, no_replica
from apps.deployments.counting import TALLY, Source
from apps.deployments.models import Deployment, Replica
from apps.deployments.rollouts import newest_change_id, shares_of
from apps.deployments.services import find_endpoint
from apps.deployments.traffic import active_weights, in_order
from workers.inference.framing import Frame, Question


@dataclass(frozen=True)
class Route:
    """One version of a deployment: the sockets of its ready replicas, the newest first, and who is counted."""

    number: int
    sockets: tuple[str, ...]
    source: Source

    def count(self, started: float, status: int) -> None:
        """Count an answer that was asked for at `started` (perf_counter)."""
        TALLY.add(self.source, time.perf_counter() - started, is_error=status >= 500)


@dataclass(frozen=True)
class Endpoint:
    """`routes` are (version, percent of the traffic that it gets now); those without a ready replica are not there."""

    deployment_id: int
    name: str
    task: str
    input: dict[str, Any]
    classes: list[str]
    routes: tuple[tuple[Route, float], ...]

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "task": self.task, "input": self.input, "classes": self.classes}

    def routes_in_order(self, choose: Callable[[], float] = random.random) -> list[Route]:
        """The version that `choose`, a number in [0, 1), falls on; the others follow, for where it dies when asked.

        Raises Unavailable where none is ready.
        """
        if not self.routes:
            raise no_replica()
        if len(self.routes) == 1:
            return [self.routes[0][0]]
        return in_order(self.routes, choose())


def resolve_endpoint(team_id: int, name: str) -> Endpoint:
    """Raises NotFound."""
    return endpoint_of(find_endpoint(team_id, name))


def endpoint_of(deployment: Deployment) -> Endpoint:
    meta = deployment.version.meta
    return Endpoint(
        deployment_id=deployment.pk,
        name=deployment.name,
        task=deployment.version.model.task,
        input=meta.get("input", {}),
        classes=meta.get("classes") or [],
        routes=_routes(deployment),
    )


def _routes(deployment: Deployment) -> tuple[tuple[Route, float], ...]:
    ready = deployment.replicas.filter(status=Replica.Status.READY).order_by("-id")
    found: dict[int, tuple[int, list[str]]] = {}
    for version_id, number, path in ready.values_list("version_id", "version__number", "socket_path"):
        found.setdefault(version_id, (number, []))[1].append(path)
    change_id = newest_change_id(deployment)
    return tuple(
        (Route(found[item][0], tuple(found[item][1]), Source(deployment.pk, item, change_id)), weight)
        for item, weight in active_weights(shares_of(deployment), list(found)).items()
    )


def ask_endpoint(endpoint: Endpoint, question: Question) -> Frame:
    """Ask as the gateway does, over a connection of its own; for sync code. Raises Unavailable."""
    for route in endpoint.routes_in_order():
        started = time.perf_counter()
        try:
            frame = ask_any(route.sockets, question)
        except Unavailable as error:
            route.count(started, error.status)
            if error.code != NOT_READY:
                raise
            continue
        route.count(started, frame.status)
        return frame
    raise no_replica()
