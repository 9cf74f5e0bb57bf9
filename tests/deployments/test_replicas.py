"""The processes behind a deployment: proved before they count, replaced when they die, gone when they should be."""

import os
import signal

import psutil
import pytest

from apps.deployments.models import Deployment, Replica
from apps.deployments.replication import MAX_STRIKES
from apps.deployments.services import change_deployment, delete_deployment, deploy_version, retry_deployment
from apps.resources.models import Node
from apps.resources.nodes import default_pool
from apps.resources.planning import schedule_pool
from tests.deployments.conftest import ready_replica, state, store_model, supervise_placed, supervise_until
from tests.inference.models import image_model, png
from workers import replicas
from workers.inference.framing import RAW, Question, ask
from workers.launcher import find_by_token
from workers.tokens import replica_token

pytestmark = pytest.mark.django_db


@pytest.fixture
def deployment(owner, version, node) -> Deployment:
    """Ready."""
    deployment = deploy_version(team=owner.team, user=owner.user, version=version)
    supervise_until(node, lambda: state(deployment).status == "ready", "the deployment is ready")
    return deployment


def predict(replica: Replica) -> int:
    return ask(replica.socket_path, Question(RAW, png()), timeout_seconds=10).status


def processes(node: Node, replica: Replica) -> list[psutil.Process]:
    return find_by_token(replica_token(node.name, replica.pk))


def test_ready_means_that_it_has_answered_a_real_prediction(deployment, node):
    replica = ready_replica(deployment)
    assert predict(replica) == 200
    pids = [process.pid for process in processes(node, replica)]
    assert replica.pid in pids and len(pids) == replica.lanes
    assert replica.process_started_at == pytest.approx(psutil.Process(replica.pid).create_time(), abs=2)


def test_it_is_starting_until_then(owner, version, node):
    deployment = deploy_version(team=owner.team, user=owner.user, version=version)
    assert state(deployment).status == "starting"
    supervise_placed(node)
    assert deployment.replicas.get().status == Replica.Status.STARTING
    assert state(deployment).status == "starting"


def test_a_model_that_cannot_answer_never_becomes_ready_and_says_why(owner, node, tmp_path):
    broken = store_model(owner, image_model(tmp_path / "broken", sample=b"no picture"))
    deployment = deploy_version(team=owner.team, user=owner.user, version=broken)
    supervise_until(node, lambda: state(deployment).status == "failed", "it is given up")
    assert "could not answer its own sample" in state(deployment).reason
    tried = deployment.replicas.all()
    assert [replica.status for replica in tried] == [Replica.Status.FAILED] * MAX_STRIKES
    assert {replica.exit_code for replica in tried} == {3}
    assert not any(replica.ready_at for replica in tried)


def test_trying_again_gives_it_new_chances(owner, node, tmp_path):
    broken = store_model(owner, image_model(tmp_path / "broken", sample=b"no picture"))
    deployment = deploy_version(team=owner.team, user=owner.user, version=broken)
    supervise_until(node, lambda: state(deployment).status == "failed", "it is given up")
    retry_deployment(deployment=deployment, user=owner.user)
    assert state(deployment).status == "starting"
    assert deployment.replicas.last().strikes == 0


def test_a_missing_file_fails_it_with_a_reason(owner, version, node):
    version.artifacts.filter(name="model.onnx").update(sha256="0" * 64)
    deployment = deploy_version(team=owner.team, user=owner.user, version=version)
    supervise_until(node, lambda: deployment.replicas.first().status == Replica.Status.FAILED, "it has failed")
    assert "could not run it" in deployment.replicas.first().reason


def test_a_killed_replica_is_replaced(deployment, node):
    first = ready_replica(deployment)
    os.kill(first.pid, signal.SIGKILL)
    supervise_until(
        node,
        lambda: deployment.replicas.filter(status=Replica.Status.READY).exclude(pk=first.pk).exists(),
        "another replica is ready",
    )
    first.refresh_from_db()
    assert (first.status, first.exit_code) == (Replica.Status.FAILED, -signal.SIGKILL)
    assert "killed" in first.reason
    assert predict(ready_replica(deployment)) == 200


def test_an_agent_that_starts_again_adopts_what_runs(deployment, node):
    pid = ready_replica(deployment).pid
    child = replicas._children.pop(ready_replica(deployment).pk)  # what a new agent process does not have
    replicas.supervise(node)
    assert ready_replica(deployment).pid == pid
    os.kill(pid, signal.SIGKILL)
    child.wait(10)
    supervise_until(node, lambda: state(deployment).status == "ready" and ready_replica(deployment).pid != pid, "new")
    assert deployment.replicas.first().reason.startswith("Its process ended.")


def test_an_agent_that_died_while_it_started_a_replica_finds_the_process(deployment, node):
    replica = ready_replica(deployment)
    Replica.objects.filter(pk=replica.pk).update(status=Replica.Status.STARTING, pid=None, process_started_at=None)
    supervise_until(node, lambda: state(deployment).status == "ready", "it is ready again")
    assert ready_replica(deployment).pid == replica.pid


def test_deleting_ends_the_process(deployment, node, owner):
    replica = ready_replica(deployment)
    delete_deployment(deployment=deployment, user=owner.user)
    supervise_until(node, lambda: not processes(node, replica), "the process is gone")
    supervise_until(node, lambda: not os.path.exists(replica.socket_path), "the socket is gone")


def test_fewer_wanted_replicas_stop_the_others(deployment, node, owner):
    change_deployment(deployment=deployment, user=owner.user, wanted_replicas=0)
    replica = deployment.replicas.get()
    supervise_until(node, lambda: deployment.replicas.get().status == Replica.Status.STOPPED, "it has stopped")
    assert processes(node, replica) == []
    assert state(deployment).status == "stopped"


def test_a_new_version_is_ready_before_the_old_one_stops(deployment, node, owner, tmp_path):
    newer = store_model(owner, image_model(tmp_path / "newer", classes=("night", "day")))
    change_deployment(deployment=deployment, user=owner.user, version=newer)
    assert state(deployment).status == "updating"
    seen = []

    def is_over() -> bool:
        seen.append(deployment.replicas.filter(status=Replica.Status.READY).count())
        return state(deployment).status == "ready" and deployment.replicas.first().status == Replica.Status.STOPPED

    supervise_until(node, is_over, "the new version serves alone")
    assert min(seen) >= 1
    assert ready_replica(deployment).version == newer


def test_a_new_version_that_cannot_start_leaves_the_old_one_serving(deployment, node, owner, tmp_path):
    broken = store_model(owner, image_model(tmp_path / "broken", sample=b"no picture"))
    change_deployment(deployment=deployment, user=owner.user, version=broken)
    supervise_until(node, lambda: state(deployment).status == "failed", "the new version is given up")
    assert "still answers" in state(deployment).reason
    assert predict(ready_replica(deployment)) == 200


def test_stopping_the_site_leaves_no_process_and_the_next_start_brings_it_back(deployment, node):
    replica = ready_replica(deployment)
    replicas.stop_all(node)
    replica.refresh_from_db()
    assert replica.status == Replica.Status.STOPPED
    assert processes(node, replica) == []
    supervise_until(node, lambda: state(deployment).status == "ready", "it is back")


def test_without_a_machine_it_waits_and_says_so(owner, version, db):
    deployment = deploy_version(team=owner.team, user=owner.user, version=version)
    assert state(deployment).status == "starting"
    schedule_pool(default_pool())
    assert "No machine" in state(deployment).reason
