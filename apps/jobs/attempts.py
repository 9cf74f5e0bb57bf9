"""The node's side of a job: claim it, write down what it says, end it. apps/jobs/members.py has the leases.

Every write is guarded by the attempt number. Only the database's clock is compared with the database's clock.
"""

from datetime import UTC, datetime
from typing import Any

from django.db import transaction
from django.db.models import Exists, F, Max, OuterRef, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.core.storage import Blob
from apps.datasets.services import apply_report, reject_version
from apps.jobs.candidates import adopt_chosen
from apps.jobs.checkpoints import forget_repeated, forget_unfinished, sort_out
from apps.jobs.endings import judge
from apps.jobs.features import features_of, program_of
from apps.jobs.lineage import lineage_of
from apps.jobs.members import close_members, end_member, lock_attempt, make_members
from apps.jobs.models import Checkpoint, Job, JobEvent, JobLog, Member, Metric
from apps.jobs.numbers import finite
from apps.jobs.services import move_job
from apps.registry.models import ModelVersion
from apps.registry.services import register_version
from apps.resources.durations import observe_duration
from apps.resources.models import Allocation, Node
from apps.resources.services import lock_grant, release_allocation, renew_allocation
from workers.contract import IMPROVED

MAX_STRIKES = 3
S = Job.Status


def claim_job(*, job_id: int, node: Node) -> Job | None:
    """Take the job for `node`, which leads: attempt + 1, and a member for each machine of the grant, ours with a lease
    already. None when somebody else was first, or while a member of an earlier attempt has not ended.

    The rows are locked one by one, the job before its allocation as everywhere: one statement over both would, having
    waited for another's lock, judge by what the rows were before.
    """
    with transaction.atomic():
        waiting = Job.objects.filter(pk=job_id, status=S.QUEUED, cancel_requested_at=None)
        job = waiting.select_for_update().first()
        if job is None or not lock_grant(allocation_id=job.allocation_id, node=node, is_to_stay=True):
            return None
        if job.members.filter(ended_at=None).exists():
            return None
        waiting.update(status=S.STARTING, attempt=F("attempt") + 1, node=node)
        job.refresh_from_db()
        placed = [part.node for part in job.allocation.placements.select_related("node").order_by("id")]
        machines = [node, *(machine for machine in placed if machine != node)]
        make_members(job, machines)
        message = _("On %(node)s.") % {"node": ", ".join(machine.name for machine in machines)}
        JobEvent.objects.create(job=job, attempt=job.attempt, status=S.STARTING, message=message)
    return job


def is_cancel_requested(*, job_id: int, attempt: int) -> bool:
    return Job.objects.filter(pk=job_id, attempt=attempt, cancel_requested_at__isnull=False).exists()


def reason_to_leave(*, job_id: int, attempt: int) -> str:
    """Why the pool wants the hardware back (an Allocation.Leave); "" while it does not."""
    row = Job.objects.filter(pk=job_id, attempt=attempt, allocation__leave_requested_at__isnull=False)
    return row.values_list("allocation__leave_code", flat=True).first() or ""


def is_to_stop(*, job_id: int, attempt: int) -> bool:
    """Somebody cancels it or pauses it, or the pool wants the hardware back."""
    asked = Q(cancel_requested_at__isnull=False) | Q(pause_requested_at__isnull=False)
    asked |= Q(allocation__leave_requested_at__isnull=False)
    return Job.objects.filter(asked, pk=job_id, attempt=attempt).exists()


def mark_running(*, job: Job, attempt: int, rank: int = 0, endpoint: str = "") -> bool:
    """The programs of the member of `rank` have been started; with the last of them the job runs. False when the
    attempt was given up."""
    with transaction.atomic():
        if lock_attempt(job_id=job.pk, attempt=attempt, rank=rank) is None:
            return False
        members = job.members.filter(attempt=attempt)
        members.filter(rank=rank).update(running_at=Now(), endpoint=endpoint)
        if not members.filter(running_at=None).exists():
            move_job(job=job, to=S.RUNNING, only_from=S.STARTING, attempt=attempt, started_at=Now())
    return True


def record_events(*, job_id: int, attempt: int, events: list[dict], read_bytes: int | None = None) -> bool:
    """Write a batch of the program's events; False when the execution was given up. `read_bytes` is how far into the
    program's events the batch goes: whoever does not know whether a batch was written asks `bytes_read`."""
    with transaction.atomic():
        job = lock_attempt(job_id=job_id, attempt=attempt)
        if job is None:
            return False
        if read_bytes is not None:
            job.members.filter(attempt=attempt, rank=0).update(read_bytes=read_bytes)
        metrics = [_metric(job, event) for event in events if event["type"] == "metric"]
        _forget_measured_before(job, metrics)
        Metric.objects.bulk_create(metrics)
        JobLog.objects.bulk_create(_log(job, event) for event in events if event["type"] == "log")
        progress = [event for event in events if event["type"] == "progress"]
        if any(event.get("step") for event in events if event["type"] in ("progress", "metric")):
            Job.objects.filter(pk=job_id, first_step_at=None).update(first_step_at=Now())
        if progress:
            job.progress = {key: finite(value) for key, value in progress[-1].items() if key != "type"}
            job.save(update_fields=["progress"])
    return True


def _forget_measured_before(job: Job, metrics: list[Metric]) -> None:
    """A checkpoint may lie between a step and the judgement after it: who resumes there measures those points again."""
    steps: dict[tuple[str, str], list[int]] = {}
    for metric in metrics if job.attempt > 1 else []:
        steps.setdefault((metric.name, metric.split), []).append(metric.step)
    for (name, split), measured in steps.items():
        earlier = Metric.objects.filter(job=job, attempt__lt=job.attempt, name=name, split=split)
        earlier.filter(step__in=measured).delete()


def bytes_read(*, job_id: int, attempt: int) -> int:
    """How much of what the program said is written down."""
    rows = Member.objects.filter(job=job_id, attempt=attempt, rank=0)
    return rows.values_list("read_bytes", flat=True).first() or 0


def _metric(job: Job, event: dict) -> Metric:
    return Metric(
        job=job,
        attempt=job.attempt,
        **{key: event[key] for key in ("name", "split", "step", "epoch", "value")},
    )


def _log(job: Job, event: dict) -> JobLog:
    return JobLog(
        job=job,
        attempt=job.attempt,
        level=event["level"],
        code=event.get("code", ""),
        message=event["message"][:4000],
        at=datetime.fromtimestamp(event["at"], UTC),
    )


def record_checkpoint(
    *, job_id: int, attempt: int, event: dict, files: dict[str, Blob], rank: int = 0, is_whole: bool = True
) -> bool:
    """What the member of `rank` wrote of a checkpoint lies in storage. Unless that `is_whole`, the others have parts of
    it too; with the last one it is complete, and those that need not stay are forgotten."""
    with transaction.atomic():
        job = lock_attempt(job_id=job_id, attempt=attempt, rank=rank)
        if job is None:
            return False
        ranks = [] if is_whole else list(job.members.filter(attempt=attempt).values_list("rank", flat=True))
        row, _made = Checkpoint.objects.get_or_create(
            job=job,
            attempt=attempt,
            path=event["path"],
            defaults={
                "step": event["step"],
                "epoch": event["epoch"],
                "score": event.get("score"),
                "metrics": {name: finite(value) for name, value in event.get("metrics", {}).items()},
                "is_kept": event.get("is_kept", False),
                "missing": ranks,
            },
        )
        row.files |= {name: blob.as_dict() for name, blob in files.items()}
        row.missing = [other for other in row.missing if other != rank]
        row.save(update_fields=["files", "missing"])
        if row.missing:
            forget_unfinished(job)
        else:
            forget_repeated(row)
            sort_out(job)
    return True


def missing_parts(*, job_id: int, attempt: int, rank: int) -> list[Checkpoint]:
    """Checkpoints of the attempt of which the part of this member is not in storage yet, oldest first."""
    return list(Checkpoint.objects.filter(job=job_id, attempt=attempt, missing__contains=[rank]))


def drop_metrics_after(*, job: Job, step: int) -> None:
    """An execution that resumes at `step` (-1: that begins anew) measures the later points again."""
    Metric.objects.filter(job=job, step__gt=step).delete()


def succeed_job(*, job: Job, attempt: int, result: dict, outputs: dict[str, Blob]) -> bool:
    """End the job well, together with what it made: a checked data set version or a model version."""
    with transaction.atomic():
        job.refresh_from_db()
        stored = {name: blob.as_dict() for name, blob in outputs.items()}
        kept = {} if job.kind == Job.Kind.PREPARE else stored  # what a check made belongs to the version
        done = {"fraction": 1.0, "message": _("Done"), **_last_position(job)}
        if not move_job(
            job=job, to=S.SUCCEEDED, attempt=attempt, result=result, outputs=kept, progress=done, finished_at=Now()
        ):
            return False
        close_members(job=job, attempt=attempt)
        sort_out(job, is_over=True)
        if job.kind == Job.Kind.PREPARE:
            apply_report(version=job.dataset_version, report=result, outputs=stored)
        elif _makes_a_version(job, result):
            job.output_version = _make_version(job, result, outputs)
            job.save(update_fields=["output_version"])
        release_allocation(allocation=job.allocation)
        _learn_duration(job)
    return True


def _makes_a_version(job: Job, result: dict) -> bool:
    """A fusion or a compression that found nothing better ends well and leaves no version, as a prediction does."""
    is_better = job.kind in (Job.Kind.FUSE, Job.Kind.COMPRESS) and result["verdict"] == IMPROVED
    return job.kind == Job.Kind.TRAIN or is_better


def _learn_duration(job: Job) -> None:
    """From its whole time on devices, over all its attempts."""
    claim = job.allocation
    ran = claim.attained_seconds + (timezone.now() - claim.granted_at).total_seconds()
    features = features_of(job, claim.devices_asked, claim.submitted_at)
    observe_duration(pool=claim.pool, program=program_of(job), features=features, seconds=ran)


def _last_position(job: Job) -> dict:
    return {key: job.progress[key] for key in ("epoch", "epochs", "step", "steps") if key in job.progress}


def _make_version(job: Job, result: dict, outputs: dict[str, Blob]) -> ModelVersion:
    files = {name.removeprefix("model/"): blob for name, blob in outputs.items() if name.startswith("model/")}
    if job.kind == Job.Kind.COMPRESS:
        return adopt_chosen(job=job, result=result, files=files)
    lineage = lineage_of(job)
    if job.parts:
        shares = [model["weight"] for model in result["models"]]
        lineage["parts"] = [{**part, "weight": share} for part, share in zip(job.parts, shares, strict=True)]
    return register_version(
        team=job.team,
        user=job.created_by,
        model_name=job.model_name,
        task=job.task,
        meta=result.get("meta", {}),
        metrics=result.get("metrics", {}),
        lineage=lineage,
        files=files,
        parent=job.base_version,
    )


def fail_job(*, job: Job, attempt: int | None, failure: dict) -> bool:
    """`failure`: {"code", "message", "hint", "blame": data|settings|machine, "evidence"}."""
    with transaction.atomic():
        if not move_job(
            job=job, to=S.FAILED, attempt=attempt, message=failure["message"], failure=failure, finished_at=Now()
        ):
            return False
        close_members(job=job, attempt=attempt)
        sort_out(job, is_over=True)
        if job.kind == Job.Kind.PREPARE:
            reject_version(
                version=job.dataset_version, code=failure["code"], message=failure["message"], hint=failure["hint"]
            )
        release_allocation(allocation=job.allocation)
    return True


def end_cancelled(*, job: Job, attempt: int | None, message: str = "") -> bool:
    with transaction.atomic():
        if not move_job(job=job, to=S.CANCELLED, attempt=attempt, message=message, finished_at=Now()):
            return False
        close_members(job=job, attempt=attempt)
        sort_out(job, is_over=True)
        if job.kind == Job.Kind.PREPARE:
            reject_version(
                version=job.dataset_version,
                code="cancelled",
                message=_("Checking was cancelled."),
                hint=_("Upload the files again to check them."),
            )
        release_allocation(allocation=job.allocation)
    return True


def requeue_job(*, job: Job, attempt: int, message: str, is_strike: bool) -> bool:
    """Back to the queue, or to rest where somebody has asked for a pause; the next execution resumes from the newest
    checkpoint. The third strike fails the job."""
    with transaction.atomic():
        found = Job.objects.select_for_update().get(pk=job.pk)
        if found.status not in Job.ACTIVE:
            return False
        if found.is_being_paused:
            return _rest(job, attempt, message if is_strike else "")
    strikes = _strikes(job, attempt) if is_strike else job.strikes
    if strikes >= MAX_STRIKES:
        return fail_job(
            job=job,
            attempt=attempt,
            failure={
                "code": "too_many_restarts",
                "message": _("It was lost %(n)d times without getting any further.") % {"n": strikes},
                "hint": _("Look at the end of the log; try a smaller batch size, or another machine."),
                "blame": "machine",
                "evidence": message,
            },
        )
    with transaction.atomic():
        old = Allocation.objects.get(pk=job.allocation_id)
        if not move_job(
            job=job,
            to=S.QUEUED,
            told_as=JobEvent.PREEMPTED if old.leave_requested_at else "",
            attempt=attempt,
            message=message,
            strikes=strikes,
            node=None,
        ):
            return False
        close_members(job=job, attempt=attempt)
        job.allocation = renew_allocation(allocation=old)
        job.save(update_fields=["allocation"])
    return True


def _rest(job: Job, attempt: int, message: str) -> bool:
    """Inside a transaction: its devices go back, and what they cost is written down."""
    if not move_job(job=job, to=S.PAUSED, attempt=attempt, message=message, node=None, pause_requested_at=None):
        return False
    close_members(job=job, attempt=attempt)
    release_allocation(allocation=job.allocation)
    return True


def _strikes(job: Job, attempt: int) -> int:
    """Restarts in a row that brought no newer checkpoint."""
    newest = job.checkpoints.complete().aggregate(n=Max("attempt"))["n"]
    return 1 if newest == attempt else job.strikes + 1


def leave_attempt(*, job_id: int, attempt: int, rank: int = 0, ending: str, **facts: Any) -> bool:
    """A member ends without a result, its programs gone: `facts` are its message and failure. Members that nobody has
    claimed yet end with it, and the last one settles what becomes of the job. False when it had ended already."""
    with transaction.atomic():
        job = lock_attempt(job_id=job_id, attempt=attempt, rank=rank)
        if job is None or not end_member(job=job, rank=rank, ending=ending, **facts):
            return False
        settle_attempt(job)
    return True


def finish_attempt(*, job: Job, attempt: int, result: dict, outputs: dict[str, Blob]) -> bool:
    """The member that leads ends with the result; the others have ended. False when the attempt was given up."""
    with transaction.atomic():
        locked = lock_attempt(job_id=job.pk, attempt=attempt)
        if locked is None:
            return False
        end_member(job=locked, rank=0, ending=Member.Ending.SUCCEEDED)
        return succeed_job(job=job, attempt=attempt, result=result, outputs=outputs)


@transaction.atomic
def settle_attempt(job: Job) -> bool:
    """Put the job back in the queue or end it, once all members of its attempt have ended. Returns whether it did."""
    job = Job.objects.select_for_update(of=("self",)).select_related("allocation", "team").get(pk=job.pk)
    members = list(job.members.filter(attempt=job.attempt))
    if job.status not in Job.ACTIVE or not all(member.ended_at for member in members):
        return False
    leave_code = job.allocation.leave_code if job.allocation.leave_requested_at else ""
    leave_reason = str(Allocation.Leave(leave_code).label) if leave_code else ""
    verdict = judge(members, is_cancelled=bool(job.cancel_requested_at), leave_reason=leave_reason)
    match verdict.becomes:
        case S.CANCELLED:
            return end_cancelled(job=job, attempt=job.attempt, message=verdict.message)
        case S.FAILED:
            return fail_job(job=job, attempt=job.attempt, failure=dict(verdict.failure))
        case _:
            return requeue_job(job=job, attempt=job.attempt, message=verdict.message, is_strike=verdict.is_strike)


def unsettled_jobs() -> QuerySet[Job]:
    """Jobs whose attempt has ended on all its machines, and nobody was left to say what becomes of them."""
    is_open = Member.objects.filter(job=OuterRef("pk"), attempt=OuterRef("attempt"), ended_at=None)
    return Job.objects.filter(~Exists(is_open), status__in=Job.ACTIVE)
