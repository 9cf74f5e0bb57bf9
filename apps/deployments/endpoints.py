"""What the gateway and the demo page need to know of a deployment to ask it."""

import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from apps.core.errors import NotFound, Unavailable
from apps.deployments.admission import Network, to_networks
from apps.deployments.connections import MAX_IN_FLIGHT, NOT_READY, ask_any, no_replica
from apps.deployments.counting import TALLY, Source
from apps.deployments.in_flight import IN_FLIGHT
from apps.deployments.models import Deployment, Replica
from apps.deployments.placing import with_replicas
from apps.deployments.replication import FAILED
from apps.deployments.request_log import LogRule
from apps.deployments.rollouts import newest_change_id, shares_of
from apps.deployments.services import find_endpoint, state_of
from apps.deployments.traffic import active_weights, in_order
from workers.inference.framing import TENSORS, Frame, Question

# Looked up again and again while somebody asks: without what versions and machines know besides.
ROUTE_FIELDS = (
    "socket_path", "lanes", "ports", "token", "version", "version__number", "node", "node__address",
)  # fmt: skip


@dataclass(frozen=True)
class Route:
    """One version of a deployment: the sockets of its ready replicas' lanes, the newest replica first, how many
    questions each lane may have at `most`, and who is counted."""

    number: int
    sockets: tuple[str, ...]
    source: Source
    most: int = MAX_IN_FLIGHT

    def count(self, question: Question, seconds: float, status: int, batch: int = 1) -> None:
        """Count the answer to `question`, which took so long and was given together with `batch` in all.

        Explanations are not counted: they say nothing of how fast the versions predict.
        """
        if not question.is_explanation:
            TALLY.add(self.source, seconds, is_error=status >= 500, batch=batch)


@dataclass(frozen=True)
class Endpoint:
    """`routes` are (version, percent of the traffic that it gets now); those without a ready replica are not there.

    `log` says which requests are written down. `facts` are the input and the classes of each version that is served,
    by its number, the stable one first. One that `may_sleep` is woken by a request; `trouble` says why none of its
    replicas will ever be ready. `decision` is the class that is looked for and its threshold, where there is one.
    """

    deployment_id: int
    name: str
    task: str
    requests_per_minute: int | None
    networks: tuple[Network, ...]
    facts: dict[int, tuple[dict[str, Any], list[str]]]
    log: LogRule
    routes: tuple[tuple[Route, float], ...]
    may_sleep: bool = False
    trouble: str = ""
    decision: dict[str, Any] | None = None

    def put(self, question: Question) -> Question:
        """As a replica is to be asked it. What comes in tensors is answered in tensors, without a decision."""
        if self.decision is None or question.content == TENSORS:
            return question
        return question.deciding(self.decision)

    def describe(self) -> dict[str, Any]:
        """The stable version."""
        input_, classes = self.facts_of(None)
        return {"name": self.name, "task": self.task, "input": input_, "classes": classes}

    def facts_of(self, version: int | None) -> tuple[dict[str, Any], list[str]]:
        """Input and classes of a version, the stable one without a number. Raises NotFound."""
        number = next(iter(self.facts)) if version is None else version
        if number not in self.facts:
            served = ", ".join(str(number) for number in self.facts)
            raise NotFound(
                f'"{self.name}" serves no version {number}. Ask for one of {served}.', code="no_such_version"
            )
        return self.facts[number]

    def routes_in_order(
        self, choose: Callable[[], float] = random.random, version: int | None = None
    ) -> Sequence[Route]:
        """The version that `choose`, a number in [0, 1), falls on; the others follow, for where it dies when asked.

        With `version` that one alone. Raises NotFound for one that is not served, Unavailable where none is ready.
        """
        if version is not None:
            self.facts_of(version)
            return [route for route, _weight in self.routes if route.number == version]
        if not self.routes:
            raise no_replica(self.trouble)
        if len(self.routes) == 1:
            return self.routes[0][:1]
        return in_order(self.routes, choose())


def resolve_endpoint(team_id: int, name: str) -> Endpoint:
    """Raises NotFound."""
    return endpoint_of(find_endpoint(team_id, name))


def endpoint_now(deployment_id: int) -> Endpoint:
    """Raises NotFound for one that was deleted meanwhile."""
    deployment = with_replicas(Deployment.objects.filter(pk=deployment_id)).first()
    if deployment is None:
        raise NotFound("This deployment was deleted.", code="no_such_endpoint")
    return endpoint_of(deployment)


def endpoint_of(deployment: Deployment) -> Endpoint:
    canaries = [canary.version for canary in deployment.canaries.select_related("version") if canary.weight]
    routes = _routes(deployment)
    return Endpoint(
        deployment_id=deployment.pk,
        name=deployment.name,
        task=deployment.version.model.task,
        requests_per_minute=deployment.requests_per_minute,
        networks=to_networks(deployment.allowed_networks),
        log=LogRule(deployment.logged_percent, deployment.logs_inputs),
        facts={
            version.number: (version.meta.get("input", {}), version.meta.get("classes") or [])
            for version in (deployment.version, *canaries)
        },
        routes=routes,
        may_sleep=deployment.may_sleep,
        trouble="" if routes else _trouble(deployment),
        decision=deployment.decision,
    )


def _trouble(deployment: Deployment) -> str:
    state = state_of(deployment)
    return state.reason if state.status == FAILED else ""


def _routes(deployment: Deployment) -> tuple[tuple[Route, float], ...]:
    ready = Replica.objects.filter(deployment=deployment, status=Replica.Status.READY).order_by("-id")
    found: dict[int, list[Replica]] = {}
    for replica in ready.select_related("version", "node").only(*ROUTE_FIELDS):
        found.setdefault(replica.version_id, []).append(replica)
    change_id = newest_change_id(deployment)
    return tuple(
        (_route(found[item], Source(deployment.pk, item, change_id)), weight)
        for item, weight in active_weights(shares_of(deployment), list(found)).items()
    )


def _route(replicas: Sequence[Replica], source: Source) -> Route:
    """To `replicas` of one version."""
    sockets = tuple(lane for replica in replicas for lane in _lanes_from_here(replica))
    most = MAX_IN_FLIGHT // max(replica.lanes for replica in replicas)
    return Route(replicas[0].version.number, sockets, source, most)


def _lanes_from_here(replica: Replica) -> tuple[str, ...]:
    """Its sockets where they are on this machine, else its ports."""
    is_here = not replica.ports or os.path.exists(replica.socket_path)
    return replica.sockets if is_here else replica.remote_sockets


def ask_endpoint(endpoint: Endpoint, question: Question) -> Frame:
    """Ask as the gateway does, over a connection of its own; for sync code. Raises Unavailable."""
    question = endpoint.put(question)
    with IN_FLIGHT.count(endpoint.deployment_id):
        for route in endpoint.routes_in_order():
            started = time.perf_counter()
            try:
                frame = ask_any(route.sockets, question)
            except Unavailable as error:
                route.count(question, time.perf_counter() - started, error.status)
                if error.code != NOT_READY:
                    raise
                continue
            route.count(question, time.perf_counter() - started, frame.status, frame.head.get("batch", 1))
            return frame
        raise no_replica()
