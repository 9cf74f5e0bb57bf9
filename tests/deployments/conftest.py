"""A registry with models made by hand, a node, and replica processes that are ended after each test."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.core.asgi import get_asgi_application

from apps.core.storage import put_file
from apps.deployments.models import Deployment, Replica
from apps.deployments.placing import with_replicas
from apps.deployments.services import state_of
from apps.registry.models import ModelVersion
from apps.registry.services import register_version
from apps.resources.models import Node
from apps.resources.nodes import beat_node, register_node
from apps.resources.planning import schedule_pool
from lepton_site.gateway import Gateway
from tests.deployments.site import Site
from tests.inference.models import image_model
from tests.people import Person
from tests.stack import wait_until
from workers.replicas import stop_all, supervise

READY_SECONDS = 60


def store_model(person: Person, folder: Path, name: str = "shades") -> ModelVersion:
    """The model in `folder` as the next version of the team's model `name`."""
    meta = json.loads((folder / "meta.json").read_text())
    return register_version(
        team=person.team,
        user=person.user,
        model_name=name,
        task=meta["task"],
        meta=meta,
        metrics={},
        lineage={},
        files={path.name: put_file(path) for path in folder.iterdir()},
    )


@pytest.fixture
def version(owner: Person, tmp_path: Path) -> ModelVersion:
    """A model that tells bright pictures from dark ones."""
    return store_model(owner, image_model(tmp_path / "model"))


@pytest.fixture
def node(db) -> Iterator[Node]:
    """A machine that is online; whatever runs on it is ended afterwards."""
    cpu = {"kind": "cpu", "index": 0, "name": "CPU", "memory_bytes": 10**9}
    facts = {"cpu_count": 2, "memory_bytes": 4 * 10**9, "storage_free_bytes": 10**9, "devices": [cpu]}
    node = register_node(name="bench", facts=facts)
    yield node
    stop_all(node)


@pytest.fixture
def site(db) -> Iterator[Site]:
    """The gateway in front of Django."""
    site = Site(Gateway(get_asgi_application()))
    yield site
    site.runner.close()


def state(deployment: Deployment):
    return state_of(with_replicas(Deployment.objects.filter(pk=deployment.pk)).get())


def supervise_placed(*nodes: Node) -> None:
    """A pass of each machine's agent, a turn of the scheduler, and another pass, which starts what got its place."""
    for node in nodes:
        supervise(node)
    schedule_pool(nodes[0].pool)
    for node in nodes:
        supervise(node)


def supervise_until(node: Node, condition: Callable[[], object], what: str) -> None:
    """Run the agent's passes until `condition` holds."""

    def passes() -> object:
        beat_node(node=node, storage_free_bytes=10**9)
        supervise_placed(node)
        return condition()

    wait_until(passes, seconds=READY_SECONDS, what=what)


def ready_replica(deployment: Deployment) -> Replica:
    return deployment.replicas.get(status=Replica.Status.READY)
