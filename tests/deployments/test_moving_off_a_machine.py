"""What a machine serves is started elsewhere before it stops there, when the machine is emptied."""

from collections.abc import Iterator

import pytest

from apps.deployments.models import Deployment, Replica
from apps.deployments.services import deploy_version
from apps.resources.models import Node
from apps.resources.nodes import beat_node, drain_node, register_node, uncordon_node
from tests.deployments.conftest import READY_SECONDS, state, supervise_placed, supervise_until
from tests.stack import wait_until
from workers.replicas import stop_all, supervise

pytestmark = pytest.mark.django_db


@pytest.fixture
def deployment(owner, version, node) -> Deployment:
    """Ready, on the only machine."""
    made = deploy_version(team=owner.team, user=owner.user, version=version)
    supervise_until(node, lambda: state(made).status == "ready", "the deployment is ready")
    return made


@pytest.fixture
def other(deployment) -> Iterator[Node]:
    """A machine that joins when the deployment is ready already."""
    cpu = {"kind": "cpu", "index": 0, "name": "CPU", "memory_bytes": 10**9}
    facts = {"cpu_count": 2, "memory_bytes": 10**9, "storage_free_bytes": 10**9, "devices": [cpu]}
    made = register_node(name="other", facts=facts)
    yield made
    stop_all(made)


def ready_on(deployment: Deployment) -> list[str]:
    return list(deployment.replicas.filter(status=Replica.Status.READY).values_list("node__name", flat=True))


def test_it_answers_elsewhere_before_it_stops_here(deployment, node, other, administrator):
    drain_node(node=node, user=administrator.user)
    seen = []

    def passes() -> bool:
        for machine in (node, other):
            beat_node(node=machine)
        supervise_placed(node, other)
        seen.append(len(ready_on(deployment)))
        return deployment.replicas.filter(status=Replica.Status.STOPPED, node=node).exists()

    wait_until(passes, seconds=READY_SECONDS, what="the replica has moved")
    assert ready_on(deployment) == ["other"] and min(seen) >= 1


def test_without_another_machine_it_stays_and_the_page_says_so(deployment, node, administrator, member):
    drain_node(node=node, user=administrator.user)
    supervise(node)
    assert ready_on(deployment) == ["bench"]
    page = member.page.get("/pool/nodes/bench/").content.decode()
    assert "Replicas that stay: 1." in page and 'data-status="draining"' in page
    uncordon_node(node=node, user=administrator.user)
    supervise(node)
    assert ready_on(deployment) == ["bench"]
