"""A program asks which replicas answer, how others ended, and what happened when; and tries again what failed."""

import os
import signal

import pytest

from apps.deployments.models import Deployment, Replica
from apps.deployments.replication import MAX_STRIKES
from apps.deployments.services import deploy_version
from tests.deployments.conftest import ready_replica, state, store_model, supervise_until
from tests.inference.models import image_model
from tests.people import make_person

pytestmark = pytest.mark.django_db


@pytest.fixture
def deployment(owner, version, node) -> Deployment:
    """Ready, for the second time: its first process was killed."""
    made = deploy_version(team=owner.team, user=owner.user, version=version)
    supervise_until(node, lambda: state(made).status == "ready", "it is ready")
    os.kill(ready_replica(made).pid, signal.SIGKILL)
    ready = made.replicas.filter(status=Replica.Status.READY)
    supervise_until(node, lambda: made.replicas.count() == 2 and ready.exists(), "another one is ready")
    return made


def ask(person, deployment, what: str):
    return person.api.get(f"/api/v1/deployments/{deployment.pk}/{what}/")


def test_readiness_termination_and_events_are_told_apart(deployment, viewer, node):
    readiness = ask(viewer, deployment, "readiness").json()
    assert (readiness["status"], readiness["wanted"], readiness["ready"]) == ("ready", 1, 1)
    (there,) = readiness["replicas"]
    assert (there["node"], there["version"], there["is_ready"], there["reason"]) == ("bench", 1, True, "")
    assert there["processes"] == ready_replica(deployment).lanes

    (ended,) = ask(viewer, deployment, "termination").json()
    assert (ended["status"], ended["exit_code"]) == ("failed", -signal.SIGKILL)
    assert ended["reason"].startswith("Its process was killed (SIGKILL)") and ended["ended_at"]

    events = ask(viewer, deployment, "events").json()
    about = [(event["kind"], event["replica"]) for event in events]
    assert about[0] == ("replica_ready", there["id"])
    assert {("replica_created", ended["id"]), ("replica_ready", ended["id"]), ("replica_failed", ended["id"])} < {
        *about
    }
    first = events[-1]
    assert (first["kind"], first["message"], first["made_by"]) == ("created", "Deployed: 100 % v1.", "olga")
    assert sorted(events, key=lambda event: event["at"], reverse=True) == events


def test_one_that_waits_for_a_place_says_so(owner, version, node):
    made = deploy_version(team=owner.team, user=owner.user, version=version)
    (waiting,) = ask(owner, made, "readiness").json()["replicas"]
    assert (waiting["node"], waiting["is_ready"]) == (None, False)
    assert waiting["reason"] == "It is about to be placed on a machine."


def test_what_failed_three_times_is_tried_again_when_a_program_says_so(owner, viewer, node, tmp_path):
    broken = store_model(owner, image_model(tmp_path / "broken", sample=b"no picture"))
    made = deploy_version(team=owner.team, user=owner.user, version=broken)
    supervise_until(node, lambda: state(made).status == "failed", "it is given up")
    ended = ask(owner, made, "termination").json()
    assert len(ended) == MAX_STRIKES and all("own sample" in one["reason"] for one in ended)
    retry = f"/api/v1/deployments/{made.pk}/retry/"
    assert viewer.api.post(retry).status_code == 403
    assert owner.api.post(retry).json()["status"] == "starting"


def test_of_another_teams_nothing_is_told(owner, version, node):
    made = deploy_version(team=owner.team, user=owner.user, version=version)
    stranger = make_person("zoe")
    for what in ("readiness", "termination", "events"):
        assert ask(stranger, made, what).status_code == 404
    assert stranger.api.post(f"/api/v1/deployments/{made.pk}/retry/").status_code == 404
