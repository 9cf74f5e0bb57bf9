"""What the gateway and the demo page need to know of a deployment to ask it."""

from dataclasses import dataclass
from typing import Any

from apps.deployments.models import Deployment, Replica
from apps.deployments.services import find_endpoint


@dataclass(frozen=True)
class Endpoint:
    """`sockets` are those of the ready replicas, the newest version first."""

    deployment_id: int
    name: str
    task: str
    input: dict[str, Any]
    classes: list[str]
    sockets: tuple[str, ...]

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "task": self.task, "input": self.input, "classes": self.classes}


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
        sockets=_ready_sockets(deployment),
    )


def _ready_sockets(deployment: Deployment) -> tuple[str, ...]:
    """Of the wanted version where one is ready; of the version before it until then."""
    ready = deployment.replicas.filter(status=Replica.Status.READY).order_by("-id")
    found = list(ready.values_list("version_id", "socket_path"))
    wanted = [path for version_id, path in found if version_id == deployment.version_id]
    return tuple(wanted or [path for _version_id, path in found])
