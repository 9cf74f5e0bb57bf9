"""A drain asks what runs to leave, an opening takes that back, and a machine that fell silent gives its jobs away."""

from datetime import timedelta

import pytest
from django.utils import timezone

from apps.accounts.models import AuditEvent
from apps.core.errors import Conflict
from apps.jobs import attempts
from apps.jobs.models import Job, Member
from apps.resources.models import Allocation, Node
from apps.resources.nodes import (
    beat_node,
    default_pool,
    drain_node,
    nodes_to_leave,
    open_nodes,
    remove_node,
    retire_node,
    state_of,
    uncordon_node,
    with_state,
)
from apps.resources.planning import schedule_pool
from tests.jobs.making import make_node, make_version, reap, run, submit


@pytest.fixture
def one(db) -> Node:
    return make_node("one", devices=1)


@pytest.fixture
def job(member, one) -> Job:
    return run(submit(member.team, member.user, make_version(member.team)), one)


def state(node: Node) -> str:
    return state_of(with_state(Node.objects.filter(pk=node.pk)).get())


def fall_silent(node: Node, seconds: float) -> None:
    Node.objects.filter(pk=node.pk).update(last_beat_at=timezone.now() - timedelta(seconds=seconds))


def test_what_runs_is_asked_to_leave_goes_on_elsewhere_without_a_strike_and_the_machine_is_drained(
    administrator, one, job
):
    two = make_node("two", devices=1)
    assert drain_node(node=one, user=administrator.user) == 1
    assert attempts.reason_to_leave(job_id=job.pk, attempt=job.attempt) == "drained"
    assert state(one) == "draining"
    attempts.requeue_job(job=job, attempt=job.attempt, message="Made room.", is_strike=False)
    assert state(one) == "drained"
    again = run(Job.objects.get(pk=job.pk), two)
    assert (again.node, again.attempt, again.strikes) == (two, 2, 0)


def test_without_another_machine_the_job_waits_and_says_why(administrator, one, job):
    drain_node(node=one, user=administrator.user)
    attempts.requeue_job(job=job, attempt=job.attempt, message="Made room.", is_strike=False)
    schedule_pool(default_pool())
    claim = Job.objects.get(pk=job.pk).allocation
    assert (claim.status, claim.reason["code"]) == ("pending", "no_node_online")


def test_draining_twice_asks_once(administrator, one, job):
    drain_node(node=one, user=administrator.user)
    assert drain_node(node=one, user=administrator.user) == 0
    assert AuditEvent.objects.filter(action="node.drained").count() == 1


def test_opening_half_way_lets_stay_what_has_not_left(administrator, one, job):
    drain_node(node=one, user=administrator.user)
    uncordon_node(node=one, user=administrator.user)
    assert attempts.reason_to_leave(job_id=job.pk, attempt=job.attempt) == ""
    assert state(one) == "online" and open_nodes().get() == one


def test_opening_takes_back_no_request_that_had_another_reason(administrator, one, job):
    Allocation.objects.update(leave_requested_at=timezone.now(), leave_code="reclaimed")
    drain_node(node=one, user=administrator.user)
    uncordon_node(node=one, user=administrator.user)
    assert attempts.reason_to_leave(job_id=job.pk, attempt=job.attempt) == "reclaimed"


def test_an_open_machine_that_is_opened_leaves_no_trace(administrator, one):
    uncordon_node(node=one, user=administrator.user)
    assert not AuditEvent.objects.filter(action="node.opened").exists()


def test_a_machine_is_removed_only_when_nothing_is_on_it(administrator, one, job):
    with pytest.raises(Conflict) as caught:
        remove_node(node=one, user=administrator.user)
    assert (caught.value.code, caught.value.details) == ("node_busy", {"jobs": 1, "replicas": 0})
    attempts.end_cancelled(job=job, attempt=job.attempt)
    remove_node(node=one, user=administrator.user)
    assert state(one) == "removed" and not beat_node(node=one)


def test_three_missed_beats_are_offline_and_a_beat_brings_it_back(one):
    fall_silent(one, 14)
    assert state(one) == "online"
    fall_silent(one, 16)
    assert state(one) == "offline" and not open_nodes().exists()
    assert beat_node(node=one) and state(one) == "online"
    retire_node(node=one)
    assert state(one) == "offline"


def test_an_agent_whose_name_another_machine_took_is_told_to_leave(one):
    Node.objects.update(machine_id="another")
    assert not beat_node(node=one)
    retire_node(node=one)
    assert state(one) == "online"


def test_the_jobs_of_a_silent_machine_go_on_elsewhere_once_their_lease_has_run_out(one, job):
    two = make_node("two", devices=1)
    fall_silent(one, 61)
    assert reap() == 0  # the lease still runs
    Member.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    assert reap() == 1
    again = run(Job.objects.get(pk=job.pk), two)
    assert (again.node, again.attempt, again.strikes) == (two, 2, 1)
    assert "The machine one stopped answering." in [event.message for event in again.events.all()]


def test_what_serves_leaves_a_drained_or_a_long_silent_machine_if_there_is_another(administrator, one):
    drain_node(node=one, user=administrator.user)
    assert nodes_to_leave() == set()
    make_node("two")
    assert nodes_to_leave() == {one.pk}
    uncordon_node(node=one, user=administrator.user)
    fall_silent(one, 30)
    assert nodes_to_leave() == set()
    fall_silent(one, 61)
    assert nodes_to_leave() == {one.pk}
