"""A replica answers in several processes, its lanes: who is asked, how much each may have, and where one has died."""

from pathlib import Path

import pytest

from apps.deployments.connections import MAX_IN_FLIGHT, ask_any, elsewhere
from apps.deployments.endpoints import endpoint_of
from apps.deployments.models import Deployment, Replica
from apps.deployments.services import deploy_version
from tests.deployments.conftest import ready_replica, state, supervise_until
from tests.inference.models import png
from workers.inference.framing import RAW, Question, ask, lane_sockets
from workers.replicas import LANES_BYTES, lanes_for

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


def test_a_large_model_has_fewer_lanes_than_there_are_cores(tmp_path: Path):
    (tmp_path / "model.onnx").write_bytes(b"x" * 1000)
    assert lanes_for(tmp_path, cpus=3) == 3
    with open(tmp_path / "weights", "wb") as file:
        file.truncate(LANES_BYTES // 2)
    assert lanes_for(tmp_path, cpus=3) == 1
    with open(tmp_path / "weights", "wb") as file:
        file.truncate(3 * LANES_BYTES)
    assert lanes_for(tmp_path, cpus=3) == 1
