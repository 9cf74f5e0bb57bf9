"""An attempt on several machines: it begins when all have claimed their part, and ends for all when it ends for one."""

import pytest

from apps.jobs import attempts
from apps.jobs.members import claim_member, members_to_claim, renew_lease, take_member
from apps.jobs.models import Job, Member
from apps.jobs.services import cancel_job
from apps.resources.models import Allocation, Device, Node
from apps.resources.nodes import default_pool, drain_node, retire_node
from apps.resources.planning import schedule_pool
from apps.resources.services import reclaim_unclaimed
from tests.jobs.gangs import claim_gang, leave, members_of, run_gang, run_out, submit_gang
from tests.jobs.making import make_node, reap

pytestmark = pytest.mark.django_db
E = Member.Ending
FAILURE = {"code": "diverged", "message": "The loss is NaN.", "hint": "", "blame": "settings", "evidence": ""}
CRASH = FAILURE | {"code": "program_crashed", "message": "It crashed."}


@pytest.fixture
def machines() -> list[Node]:
    return [make_node(name, devices=1) for name in ("one", "two")]


@pytest.fixture
def job(team, machines) -> Job:
    return submit_gang(team)


def state(job: Job) -> tuple[str, int, int]:
    job.refresh_from_db()
    return job.status, job.attempt, job.strikes


def held() -> int:
    return Device.objects.exclude(allocation=None).count()


def test_it_runs_when_all_its_machines_run(job):
    members = claim_gang(job)
    assert [member.rank for member in members] == [0, 1]
    assert members[0].node == members[0].job.allocation.node
    attempts.mark_running(job=job, attempt=1, rank=0, endpoint="127.0.0.1:29500")
    assert state(job)[0] == Job.Status.STARTING
    attempts.mark_running(job=job, attempt=1, rank=1)
    assert state(job)[0] == Job.Status.RUNNING
    assert members_of(job)[0].endpoint == "127.0.0.1:29500"


def test_a_part_is_claimed_once_and_run_by_one_runner(job):
    member = claim_gang(job)[1]
    assert not claim_member(member=member)
    assert take_member(member=member, runner="first")
    assert not take_member(member=member, runner="second")


def test_a_machine_claims_only_its_own_part(job, machines):
    schedule_pool(default_pool())
    attempts.claim_job(job_id=job.pk, node=machines[0])
    assert not members_to_claim(machines[0]).exists()
    assert [member.rank for member in members_to_claim(machines[1])] == [1]


def test_a_lost_lease_ends_all_and_the_job_waits_until_the_last_has_left(job):
    lead, other = run_gang(job)
    run_out([other])
    assert reap() == 0, "the one that leads still works"
    assert state(job) == ("running", 1, 0) and held() == 2
    assert renew_lease(job_id=job.pk, attempt=1, rank=0)
    assert not renew_lease(job_id=job.pk, attempt=1, rank=1)
    assert leave(lead, E.FOLLOWED)
    assert state(job) == ("queued", 1, 1) and held() == 0
    told = [event.message for event in job.events.all()]
    assert "The machine two stopped answering." in told
    assert [member.attempt for member in run_gang(job)] == [2, 2]


def test_the_loss_of_the_machine_that_leads_is_the_loss_of_all(job):
    lead, other = run_gang(job)
    run_out([lead])
    reap()
    assert not attempts.record_events(job_id=job.pk, attempt=1, events=[])
    assert not attempts.finish_attempt(job=job, attempt=1, result={}, outputs={}), "it comes back too late"
    assert leave(other, E.FOLLOWED)
    assert state(job) == ("queued", 1, 1)


def test_a_machine_that_never_starts_its_part_is_named(job, machines):
    schedule_pool(default_pool())
    attempts.claim_job(job_id=job.pk, node=machines[0])
    lead, other = members_of(job)
    run_out([other])
    reap()
    assert not claim_member(member=other)
    leave(lead, E.FOLLOWED)
    assert state(job) == ("queued", 1, 1)
    assert "The machine two did not start its part of the work." in [event.message for event in job.events.all()]


def test_a_part_that_nobody_has_claimed_ends_with_the_others(job, machines):
    schedule_pool(default_pool())
    attempts.claim_job(job_id=job.pk, node=machines[0])
    lead, other = members_of(job)
    leave(lead, E.LOST, message="Its runner died.")
    assert state(job) == ("queued", 1, 1)
    assert not claim_member(member=other)


def test_what_a_program_said_itself_counts_before_the_crashes_that_follow(job):
    lead, other = run_gang(job)
    leave(lead, E.CRASHED, failure=CRASH)
    leave(other, E.FAILED, failure=FAILURE)
    assert state(job)[0] == Job.Status.FAILED
    assert job.failure["code"] == "diverged"


def test_a_lost_machine_counts_before_the_crashes_that_follow(job):
    lead, other = run_gang(job)
    leave(lead, E.CRASHED, failure=CRASH)
    run_out([other])
    reap()
    assert state(job) == ("queued", 1, 1)


def test_a_crash_fails_the_job_with_what_the_first_one_wrote(job):
    lead, other = run_gang(job)
    leave(other, E.CRASHED, failure=CRASH)
    leave(lead, E.FOLLOWED)
    assert state(job)[0] == Job.Status.FAILED
    assert job.failure["code"] == "program_crashed"


def test_a_gang_that_made_room_waits_without_a_strike(job, administrator, machines):
    lead, other = run_gang(job)
    drain_node(node=machines[1], user=administrator.user)
    assert attempts.is_to_stop(job_id=job.pk, attempt=1)
    leave(other, E.STOPPED)
    assert state(job)[0] == Job.Status.RUNNING and held() == 2, "the devices stay until all have left"
    leave(lead, E.STOPPED)
    assert state(job) == ("queued", 1, 0) and held() == 0
    assert "Made room: the machine is being emptied." in [event.message for event in job.events.all()]


def test_a_gang_of_which_one_agent_stops_goes_on_elsewhere(job):
    lead, other = run_gang(job)
    leave(other, E.STOPPED)
    leave(lead, E.CRASHED, failure=CRASH)
    assert state(job) == ("queued", 1, 0)


def test_a_cancelled_gang_is_cancelled_when_the_last_has_ended(job):
    lead, other = run_gang(job)
    cancel_job(job=job, user=None)
    leave(lead, E.STOPPED)
    assert state(job)[0] == Job.Status.RUNNING
    leave(other, E.STOPPED)
    assert state(job)[0] == Job.Status.CANCELLED and held() == 0


def test_a_cancelled_gang_with_a_dead_machine_is_cancelled_too(job):
    lead, other = run_gang(job)
    cancel_job(job=job, user=None)
    leave(lead, E.STOPPED)
    run_out([other])
    reap()
    assert state(job)[0] == Job.Status.CANCELLED


def test_a_runner_that_died_right_after_its_last_word_leaves_the_rest_to_the_reaper(job):
    run_gang(job)
    Member.objects.update(ended_at=job.created_at, ending=E.LOST, message="Its runner died.")
    assert reap() == 1
    assert state(job) == ("queued", 1, 1)


def test_no_attempt_begins_while_a_part_of_the_one_before_may_still_run(job):
    run_gang(job)
    Job.objects.update(status=Job.Status.QUEUED)  # however that came about
    assert attempts.claim_job(job_id=job.pk, node=job.allocation.node) is None


def test_a_grant_with_a_machine_that_went_away_is_taken_back(job, machines):
    schedule_pool(default_pool())
    retire_node(node=machines[1])
    assert reclaim_unclaimed(after_seconds=0) == 1
    assert Allocation.objects.get(pk=job.allocation_id).status == Allocation.Status.PENDING
