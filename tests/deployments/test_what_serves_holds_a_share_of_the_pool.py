"""A replica asks the pool for CPU and memory as a job does, waits where there is none, and gives them back."""

import time
from datetime import timedelta

import pytest
from django.core.cache import cache
from django.utils import timezone

from apps.core.errors import Unprocessable
from apps.core.outages import KEY, note_tick
from apps.deployments.claims import CPU_MILLICORES, demand_of_replica
from apps.deployments.models import Deployment, Replica
from apps.deployments.placing import reconcile
from apps.deployments.services import change_deployment, delete_deployment, deploy_version
from apps.resources.models import Allocation, Node, Pool, Share, UsageRecord
from apps.resources.nodes import beat_node, register_node, remove_node, retire_node, with_state
from apps.resources.planning import schedule_pool
from apps.resources.quotas import set_quota
from apps.resources.scheduling import Demand
from apps.resources.services import pool_overview, release_allocation, request_allocation
from apps.resources.wanted import Terms
from tests.deployments.conftest import ready_replica, state, supervise_until
from tests.people import Person, make_person

pytestmark = pytest.mark.django_db
Status = Replica.Status


@pytest.fixture
def machine(db) -> Node:
    return add_machine("one")


def add_machine(name: str, memory_bytes: int = 10**9) -> Node:
    cpu = {"kind": "cpu", "index": 0, "name": "CPU", "memory_bytes": memory_bytes}
    facts = {"cpu_count": 2, "memory_bytes": memory_bytes, "storage_free_bytes": 10**9, "devices": [cpu]}
    return register_node(name=name, facts=facts)


@pytest.fixture
def deployment(owner, version, machine) -> Deployment:
    return deploy_version(team=owner.team, user=owner.user, version=version)


def take_turns() -> None:
    """What agents and the scheduler do again and again."""
    reconcile()
    schedule_pool(Allocation.objects.first().pool)
    reconcile()


def serve(deployment: Deployment) -> Replica:
    """Its replica has its place, and its process answers."""
    take_turns()
    replica = deployment.replicas.get(status=Status.PENDING)
    assert replica.node is not None
    Replica.objects.filter(pk=replica.pk).update(status=Status.READY, ready_at=timezone.now())
    replica.refresh_from_db()
    return replica


def held(node: Node) -> tuple[int, int]:
    node.refresh_from_db()
    return node.cpu_held_millicores, node.memory_held_bytes


def take_all(person: Person, memory_bytes: int) -> Allocation:
    """Work that holds all but 10 MB of a machine, and may not be preempted."""
    demand = Demand(cpu_millicores=100, memory_bytes=memory_bytes - 10**7)
    claim = request_allocation(team=person.team, user=person.user, demand=demand, terms=Terms(is_preemptible=False))
    schedule_pool(claim.pool)
    return claim


def test_it_holds_cpu_and_memory_of_its_machine_and_counts_as_no_job(deployment, machine, owner):
    take_turns()
    claim = deployment.replicas.get().allocation
    assert held(machine) == (CPU_MILLICORES, claim.memory_bytes) and claim.memory_bytes > 10**8
    share = Share.objects.get(team=owner.team)
    assert (share.held_cpu_millicores, share.held_jobs, share.held_devices) == (CPU_MILLICORES, 0, 0)
    assert pool_overview(owner.team)["jobs_active"] == 0


def test_one_that_stopped_gives_it_back_and_leaves_a_record_of_its_use(deployment, machine):
    replica = serve(deployment)
    change_deployment(deployment=deployment, user=None, wanted_replicas=0)
    reconcile()
    assert held(machine)[0] == CPU_MILLICORES  # its process has not ended yet
    Replica.objects.filter(pk=replica.pk, status=Status.STOPPING).update(status=Status.STOPPED)
    reconcile()
    assert held(machine) == (0, 0)
    record = UsageRecord.objects.get()
    assert (record.job_name, record.job_id, record.device_seconds) == ("shades", None, 0.0)


def test_one_that_was_deleted_gives_it_back(deployment, machine, owner):
    serve(deployment)
    delete_deployment(deployment=deployment, user=owner.user)
    reconcile()
    assert held(machine) == (0, 0)


def test_where_no_machine_has_room_it_waits_says_why_and_starts_by_itself(deployment, machine, owner):
    other = make_person("zoe")
    Allocation.objects.all().delete()  # the other was first
    blocker = take_all(other, machine.memory_bytes)
    take_turns()
    assert deployment.replicas.get().node is None
    assert state(deployment).reason == "Every machine has its memory promised to other work."
    assert "Every machine has its memory promised" in owner.page.get(f"/deployments/{deployment.pk}/").content.decode()
    release_allocation(allocation=blocker)
    take_turns()
    assert deployment.replicas.get().node == machine


def test_its_team_is_told_at_once_that_its_limit_is_too_low(owner, version, machine, administrator):
    set_quota(team=owner.team, pool=machine.pool, resource="memory", user=administrator.user, limit=10**6)
    with pytest.raises(Unprocessable, match="your team may hold 1.0 MB of memory at most") as refused:
        deploy_version(team=owner.team, user=owner.user, version=version)
    assert refused.value.code == "exceeds_limit"
    assert not Deployment.objects.exists()


def test_a_limit_that_is_lowered_later_leaves_what_serves_and_fails_what_would_start(
    deployment, machine, owner, administrator
):
    replica = serve(deployment)
    set_quota(team=owner.team, pool=machine.pool, resource="cpu", user=administrator.user, limit=CPU_MILLICORES - 1)
    change_deployment(deployment=deployment, user=None, wanted_replicas=2)
    take_turns()
    assert deployment.replicas.get(status=Status.READY) == replica
    failed = deployment.replicas.get(status=Status.FAILED)
    assert failed.reason.startswith("This asks for 0.1 CPU cores; your team may hold 0.099 CPU cores at most.")


def test_what_is_set_aside_can_be_changed_and_the_old_one_serves_until_the_new_one_does(deployment, machine, owner):
    old = serve(deployment)
    answer = owner.api.patch(
        f"/api/v1/deployments/{deployment.pk}/",
        {"replica_cpu": 0.5, "replica_memory": 0.25},
        content_type="application/json",
    )
    assert (answer.json()["replica_cpu"], answer.json()["replica_memory"]) == (0.5, 0.25)
    take_turns()
    new = deployment.replicas.get(status=Status.PENDING)
    assert new.node == machine and new.allocation.memory_bytes == 25 * 10**7
    old.refresh_from_db()
    assert old.status == Status.READY and held(machine)[0] == CPU_MILLICORES + 500
    Replica.objects.filter(pk=new.pk).update(status=Status.READY)
    reconcile()
    old.refresh_from_db()
    assert old.status == Status.STOPPING


def test_more_than_any_machine_has_is_refused_with_the_field(deployment, owner):
    answer = owner.api.patch(
        f"/api/v1/deployments/{deployment.pk}/", {"replica_memory": 64}, content_type="application/json"
    )
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["field"]) == (422, "too_large_for_any_node", "replica_memory")
    deployment.refresh_from_db()
    assert deployment.replica_memory is None


def test_the_form_says_so_too_and_keeps_what_was_typed(deployment, owner):
    page = owner.page.post(f"/deployments/{deployment.pk}/change/", {"replica_memory": "64"})
    assert page.status_code == 422
    shown = page.content.decode()
    assert "the largest that would do has 1.0 GB of memory" in shown
    assert 'name="replica_memory" value="64"' in shown and 'name="idle_minutes" value="15"' in shown


def test_a_machine_that_is_lost_gives_its_share_back_and_what_returns_is_replaced(deployment, machine):
    lost = serve(deployment)
    Node.objects.filter(pk=machine.pk).update(last_beat_at=timezone.now() - timedelta(hours=1))
    other = add_machine("two")
    take_turns()
    assert held(machine) == (0, 0)
    new = deployment.replicas.get(status=Status.PENDING)
    assert new.node == other
    beat_node(node=machine)
    take_turns()
    lost.refresh_from_db()
    assert lost.status == Status.READY  # it answers until the new one does
    Replica.objects.filter(pk=new.pk).update(status=Status.READY)
    reconcile()
    lost.refresh_from_db()
    assert lost.status == Status.STOPPING


def test_the_page_of_its_machine_names_it_for_its_team_alone(deployment, machine, owner, administrator):
    take_turns()
    link = f'<a href="/deployments/{deployment.pk}/">shades</a>'
    assert link in owner.page.get("/pool/nodes/one/").content.decode()
    assert "Team of olga · shades" in administrator.page.get("/pool/nodes/one/").content.decode()
    page = make_person("zoe").page.get("/pool/nodes/one/").content.decode()
    assert "another team" in page and "shades" not in page


def test_a_number_of_cores_bounds_its_processes(owner, version, node):
    made = deploy_version(team=owner.team, user=owner.user, version=version)
    change_deployment(deployment=made, user=owner.user, replica_cpu=1.0)
    supervise_until(node, lambda: state(made).status == "ready", "the deployment is ready")
    assert ready_replica(made).lanes == 1


def test_a_machine_whose_agent_was_stopped_and_stays_away_is_lost_like_one_that_fell_silent(deployment, machine):
    serve(deployment)
    other = add_machine("two")
    retire_node(node=machine)
    take_turns()
    assert held(machine)[0] == CPU_MILLICORES  # it may come back at once
    Node.objects.filter(pk=machine.pk).update(retired_at=timezone.now() - timedelta(hours=1))
    take_turns()
    assert held(machine) == (0, 0) and deployment.replicas.get(status=Status.PENDING).node == other


def test_after_an_outage_no_machine_is_taken_for_lost_before_all_could_beat(deployment, machine):
    serve(deployment)
    add_machine("two")
    Node.objects.filter(pk=machine.pk).update(last_beat_at=timezone.now() - timedelta(hours=1))
    now = time.time()
    note_tick(now=now - 1000)
    note_tick(now=now)
    take_turns()
    assert held(machine)[0] == CPU_MILLICORES
    cache.delete(KEY)
    for seconds in range(120, -1, -5):
        note_tick(now=now - seconds)
    take_turns()
    assert held(machine) == (0, 0)


def test_the_only_machine_can_be_removed_when_it_is_dead(deployment, machine, administrator):
    serve(deployment)
    Node.objects.filter(pk=machine.pk).update(last_beat_at=timezone.now() - timedelta(hours=1))
    remove_node(node=machine, user=administrator.user)
    reconcile()
    assert held(machine) == (0, 0)


def test_replicas_are_counted_once_and_not_as_jobs(deployment, machine):
    serve(deployment)
    found = with_state(Node.objects.filter(pk=machine.pk)).get()
    assert (found.claims_left, found.replicas_left) == (0, 1)


def test_where_the_default_pool_has_no_machine_another_one_serves(owner, version):
    second = Pool.objects.create(name="second")
    Node.objects.filter(pk=add_machine("far").pk).update(pool=second)
    made = deploy_version(team=owner.team, user=owner.user, version=version)
    assert made.replicas.get().allocation.pool == second


def test_a_model_of_gigabytes_asks_for_its_files_and_one_copy(owner, version):
    version.size_bytes = 2 * 10**9
    assert demand_of_replica(Deployment(team=owner.team), version).memory_bytes == pytest.approx(4.15 * 10**9)
    version.size_bytes = 50 * 10**6
    assert demand_of_replica(Deployment(team=owner.team), version).memory_bytes == pytest.approx(0.6 * 10**9)
