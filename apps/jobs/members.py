"""The leases of an attempt: one for each machine it runs on.

Whoever changes a member together with its job locks the job first. Renewing and expiring a lease are single statements
on one row, so that of the two only one is done: a lease that was renewed is not lost, and one that is lost stays so.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from apps.core.doorbell import ring
from apps.jobs.models import Job, Member
from apps.resources.models import Node

BEGIN_SECONDS = 30
E = Member.Ending


def new_lease() -> Any:
    return Now() + timedelta(seconds=settings.LEPTON_LEASE_SECONDS)


def first_lease() -> Any:
    """Until its runner begins to renew; on a busy machine that alone may take longer than a short lease."""
    return Now() + timedelta(seconds=max(settings.LEPTON_LEASE_SECONDS, BEGIN_SECONDS))


def make_members(job: Job, machines: Sequence[Node]) -> None:
    """Inside the transaction that claims the job for the first of `machines`. The others have a lease time to begin;
    their ranks are in the order of `machines`."""
    Member.objects.bulk_create(
        Member(
            job=job,
            attempt=job.attempt,
            node=machine,
            rank=rank,
            lease_expires_at=first_lease(),
            claimed_at=None if rank else Now(),
        )
        for rank, machine in enumerate(machines)
    )
    for machine in machines[1:]:
        ring("workers.tasks.start_work", queue=f"node.{machine.name}")


def lock_attempt(*, job_id: int, attempt: int, rank: int = 0) -> Job | None:
    """Inside a transaction: the job, locked; None when the attempt, or its member of `rank`, is no more."""
    job = Job.objects.select_for_update().filter(pk=job_id, attempt=attempt, status__in=Job.ACTIVE).first()
    if job is None or not job.members.filter(attempt=attempt, rank=rank, ended_at=None).exists():
        return None
    return job


def members_to_claim(node: Node) -> QuerySet[Member]:
    """Parts of gangs that wait for this machine to begin."""
    waiting = Member.objects.filter(node=node, claimed_at=None, ended_at=None, job__attempt=F("attempt"))
    return waiting.filter(job__status__in=Job.ACTIVE, job__cancel_requested_at=None)


@transaction.atomic
def claim_member(*, member: Member) -> bool:
    """Take the part that waits for this machine; False when it waits no more."""
    if lock_attempt(job_id=member.job_id, attempt=member.attempt, rank=member.rank) is None:
        return False
    waiting = Member.objects.filter(pk=member.pk, claimed_at=None, ended_at=None)
    return bool(waiting.update(claimed_at=Now(), lease_expires_at=first_lease()))


def take_member(*, member: Member, runner: str) -> bool:
    """A runner begins, and keeps the lease from now on; False when another one has, or the lease is lost."""
    rows = Member.objects.filter(pk=member.pk, runner="", claimed_at__isnull=False, ended_at=None)
    return bool(rows.update(runner=runner, lease_expires_at=new_lease()))


def renew_lease(*, job_id: int, attempt: int, rank: int = 0) -> bool:
    """False: this member was given up, and whoever asks must stop."""
    rows = Member.objects.filter(job=job_id, attempt=attempt, rank=rank, ended_at=None)
    return bool(rows.update(lease_expires_at=new_lease()))


def end_member(*, job: Job, rank: int, ending: str, message: str = "", failure: dict | None = None) -> bool:
    """Inside a transaction that has locked the job. Where the gang has come to nothing, its members that nobody has
    claimed yet end too. False when it had ended already."""
    members = job.members.filter(attempt=job.attempt, ended_at=None)
    facts = {"ending": ending, "message": message, "failure": failure or {}}
    if not members.filter(rank=rank).update(ended_at=Now(), **facts):
        return False
    if ending != E.SUCCEEDED:
        members.filter(claimed_at=None).update(ended_at=Now(), ending=E.FOLLOWED)
    return True


def close_members(*, job: Job, attempt: int | None) -> None:
    """Inside the transaction that ends the attempt: what is still open ends with it."""
    job.members.filter(attempt=job.attempt if attempt is None else attempt, ended_at=None).update(
        ended_at=Now(), ending=E.FOLLOWED
    )


def others_of(member: Member) -> QuerySet[Member]:
    """The other members of its attempt."""
    return Member.objects.filter(job=member.job_id, attempt=member.attempt).exclude(pk=member.pk)


def expire_leases() -> int:
    """Members with a lease that has run out are lost; returns how many."""
    expired = Member.objects.filter(ended_at=None, lease_expires_at__lt=Now()).select_related("node")
    return sum(_expire(member) for member in expired)


def _expire(member: Member) -> bool:
    silent = _("The machine %(node)s stopped answering.") % {"node": member.node.name}
    never = _("The machine %(node)s did not start its part of the work.") % {"node": member.node.name}
    rows = Member.objects.filter(pk=member.pk, ended_at=None, lease_expires_at__lt=Now())
    message = silent if member.claimed_at else never
    if not rows.update(ended_at=Now(), ending=E.LOST, message=message):
        return False
    rest = Member.objects.filter(job=member.job_id, attempt=member.attempt, claimed_at=None, ended_at=None)
    rest.update(ended_at=Now(), ending=E.FOLLOWED)
    return True
