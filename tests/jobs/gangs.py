"""Jobs on several machines, made through the same verbs as in life."""

from collections.abc import Sequence
from datetime import timedelta

from django.db.models.functions import Now

from apps.accounts.models import Team
from apps.jobs import attempts
from apps.jobs.members import claim_member, members_to_claim
from apps.jobs.models import Job, Member
from apps.resources.models import Allocation, Node
from apps.resources.nodes import default_pool
from apps.resources.planning import schedule_pool
from tests.jobs.making import submit


def submit_gang(team: Team, devices: int = 2, **choices) -> Job:
    """A training that asks for devices of any number of machines."""
    job = submit(team, **choices)
    Allocation.objects.filter(pk=job.allocation_id).update(devices_asked=devices, max_nodes=None)
    job.refresh_from_db()
    return job


def claim_gang(job: Job) -> list[Member]:
    """Grant it, and let all its machines claim their parts; the members in the order of their ranks."""
    schedule_pool(default_pool())
    job.refresh_from_db()
    job = attempts.claim_job(job_id=job.pk, node=job.allocation.node)
    assert job is not None
    for node in Node.objects.all():
        for member in members_to_claim(node):
            assert claim_member(member=member)
    return members_of(job)


def run_gang(job: Job) -> list[Member]:
    """The same, with all their programs started."""
    for member in claim_gang(job):
        assert attempts.mark_running(job=member.job, attempt=member.attempt, rank=member.rank)
    return members_of(job)


def members_of(job: Job) -> list[Member]:
    """Of its newest attempt, as they are now."""
    job = Job.objects.get(pk=job.pk)
    return list(job.members.filter(attempt=job.attempt).select_related("node", "job__allocation"))


def leave(member: Member, ending: str, **facts) -> bool:
    return attempts.leave_attempt(
        job_id=member.job_id, attempt=member.attempt, rank=member.rank, ending=ending, **facts
    )


def run_out(members: Sequence[Member]) -> None:
    """Let their leases run out."""
    ids = [member.pk for member in members]
    Member.objects.filter(pk__in=ids, ended_at=None).update(lease_expires_at=Now() - timedelta(seconds=1))
