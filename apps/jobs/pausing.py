"""Let a training, a compression or a prediction rest, and let it go on.

What rests has given everything back but what it stored."""

from dataclasses import replace

from django.db import transaction
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from apps.accounts.models import User
from apps.accounts.services import record_audit
from apps.core.errors import Conflict
from apps.jobs.models import Job
from apps.jobs.services import expected_duration, move_job, note_request, require_job_quota
from apps.resources.budgets import check_may_start
from apps.resources.services import release_allocation, resume_claim
from apps.resources.wanted import wanted_of

S = Job.Status


@transaction.atomic
def pause_job(*, job: Job, user: User | None) -> Job:
    """Let a job rest. One that waits is paused at once; one that runs writes a checkpoint, gives its devices back
    and is paused within seconds. Raises Conflict for what has ended, is being stopped, or has no checkpoints."""
    job = Job.objects.select_for_update(of=("self",)).select_related("team", "allocation").get(pk=job.pk)
    if job.status == S.PAUSED:
        return job
    _require_pausable(job)
    if job.status in Job.ACTIVE:
        note_request(job, user, gettext_noop("Asked to pause."), "pause_requested_at")
    else:
        move_job(job=job, to=S.PAUSED, actor=user)
        release_allocation(allocation=job.allocation)
    record_audit(team=job.team, actor=user, action="job.pause", target=str(job), details={})
    job.refresh_from_db()
    return job


def _require_pausable(job: Job) -> None:
    if job.is_ended:
        raise Conflict(_("This job has ended already."), code="already_ended")
    if job.cancel_requested_at:
        raise Conflict(_("This job is being stopped."), code="being_stopped")
    if job.kind not in Job.PAUSABLE:
        raise Conflict(
            _(
                "Only trainings, compressions and predictions can be paused; this job would have to begin anew. "
                "Cancel it instead."
            ),
            code="cannot_pause",
        )


@transaction.atomic
def resume_job(*, job: Job, user: User | None) -> Job:
    """Put a paused job back in the queue, behind what waits already; it goes on from its newest checkpoint. Raises
    Conflict when it is not paused, and what a submit raises where budget, quota or machines no longer allow it."""
    job = Job.objects.select_for_update(of=("self",)).select_related("team", "allocation__pool").get(pk=job.pk)
    if job.status != S.PAUSED:
        raise Conflict(_("This job is not paused, so there is nothing to resume."), code="not_paused")
    wanted = wanted_of(job.allocation)
    wanted = replace(wanted, terms=replace(wanted.terms, estimate=expected_duration(job, wanted).estimate))
    check_may_start(job.team, wanted.pool)
    require_job_quota(job.team, wanted.pool)
    claim = resume_claim(allocation=job.allocation, wanted=wanted, user=user)
    move_job(job=job, to=S.QUEUED, actor=user, message=gettext_noop("Resumed."), allocation=claim, strikes=0)
    record_audit(team=job.team, actor=user, action="job.resume", target=str(job), details={})
    return job
