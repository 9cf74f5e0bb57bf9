"""A replica answers in several processes, its lanes: who is asked, how much each may have, and where one has died."""

import psutil
import pytest
from django.urls import reverse

from apps.deployments.connections import MAX_IN_FLIGHT, ask_any, elsewhere
from apps.deployments.endpoints import endpoint_of
from apps.deployments.models import Deployment, Replica
from apps.deployments.services import deploy_version
from apps.resources.models import Node
from tests.deployments.conftest import ready_replica, state, supervise_until
from tests.inference.models import png
from workers.inference.framing import RAW, Question, ask
from workers.inference.reaching import LANES_BYTES, lane_sockets, most_lanes

FIRST, SECOND = lane_sockets("/s/1.sock", 2), lane_sockets("/s/2.sock", 2)


def test_where_a_lane_died_another_replica_is_asked_rather_than_its_siblings():
    assert elsewhere([*FIRST, *SECOND], FIRST[1]) == list(SECOND)


def test_where_there_is_no_other_replica_its_siblings_are_asked():
    assert elsewhere(FIRST, FIRST[1]) == [FIRST[0]]
    assert elsewhere([FIRST[0]], FIRST[0]) == []


@pytest.mark.django_db
def test_lanes_share_what_a_replica_may_have_in_hand(owner, version):
    deployment = deploy_version(team=owner.team, user=owner.user, version=version)
    for number, lanes in enumerate((2, 4)):
        Replica.objects.create(
            deployment=deployment, version=version, status=Replica.Status.READY, lanes=lanes,
            socket_path=f"/s/{number}.sock",
        )  # fmt: skip
    ((route, _share),) = endpoint_of(Deployment.objects.get(pk=deployment.pk)).routes
    assert route.sockets == (*lane_sockets("/s/1.sock", 4), *lane_sockets("/s/0.sock", 2))
    assert route.most == MAX_IN_FLIGHT // 4


@pytest.mark.django_db(transaction=True)
def test_a_replica_is_ready_when_each_of_its_lanes_predicts(owner, version, node, monkeypatch):
    monkeypatch.setattr("workers.replicas.usable_cpus", lambda: 3)
    deployment = deploy_version(team=owner.team, user=owner.user, version=version)
    supervise_until(node, lambda: state(deployment).status == "ready", "the deployment is ready")
    replica = ready_replica(deployment)
    assert replica.lanes == 3
    answers = [ask(path, Question(RAW, png()), timeout_seconds=20) for path in replica.sockets]
    assert [frame.status for frame in answers] == [200] * 3
    gone = [*lane_sockets("/nonexistent/1.sock", 2), *replica.sockets]
    assert ask_any(gone, Question(RAW, png())).status == 200, "the second try goes past the other lane of what is gone"


@pytest.fixture
def another_machine(node) -> None:
    """What serves on `node` is asked over the network, as the site cannot see its sockets."""
    Node.objects.filter(pk=node.pk).update(address="127.0.0.2")


@pytest.mark.django_db(transaction=True)
@pytest.mark.xdist_group("gateway")
def test_a_replica_on_another_machine_answers_through_the_gateway(site, owner, version, node, another_machine):
    deployment = deploy_version(team=owner.team, user=owner.user, version=version)
    supervise_until(node, lambda: state(deployment).status == "ready", "the deployment is ready")
    replica = ready_replica(deployment)
    assert len(replica.ports) == replica.lanes and len(replica.token) == 64
    deployment.replicas.update(socket_path="/of/another/machine.sock")
    answers = [site("POST", f"/v1/models/{deployment.name}/predict", owner.secret, content=png()) for _time in range(4)]
    assert [answer.json()["class"] for answer in answers] == ["bright"] * 4
    page = reverse("deployments:detail", args=[deployment.pk])
    told = [owner.api.get(f"/api/v1/deployments/{deployment.pk}/"), owner.page.get(page)]
    assert [answer.status_code for answer in told] == [200, 200]
    assert not any(replica.token in answer.content.decode() for answer in told)


@pytest.mark.django_db(transaction=True)
def test_where_the_site_has_the_machine_alone_no_port_is_opened(owner, version, node):
    deployment = deploy_version(team=owner.team, user=owner.user, version=version)
    supervise_until(node, lambda: state(deployment).status == "ready", "the deployment is ready")
    replica = ready_replica(deployment)
    assert (replica.ports, replica.token) == ([], "")
    processes = [psutil.Process(replica.pid), *psutil.Process(replica.pid).children()]
    assert not [found for process in processes for found in process.net_connections("inet")]


@pytest.mark.django_db(transaction=True)
def test_a_machine_with_an_address_that_is_not_its_own_says_so(owner, version, node):
    Node.objects.filter(pk=node.pk).update(address="192.0.2.1")
    deployment = deploy_version(team=owner.team, user=owner.user, version=version)
    supervise_until(node, lambda: deployment.replicas.first().status == Replica.Status.FAILED, "it has failed")
    assert "192.0.2.1" in deployment.replicas.first().reason


def test_a_large_model_has_fewer_lanes_than_there_are_cores():
    assert most_lanes(1000, cpus=3) == 3
    assert most_lanes(LANES_BYTES // 2 + 1, cpus=3) == 1
    assert most_lanes(3 * LANES_BYTES, cpus=3) == 1
