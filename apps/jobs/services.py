"""What users do with jobs, and the one way a job changes its state. apps/jobs/attempts.py is the node's side."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop, ngettext

from apps.accounts.models import Team, User
from apps.accounts.services import record_audit
from apps.core.errors import Conflict, QuotaExceeded, Unprocessable
from apps.core.retelling import for_keeping, retell
from apps.datasets.models import DatasetVersion
from apps.jobs import series_columns
from apps.jobs.checkpoints import sort_out
from apps.jobs.features import features_of, given_seconds, program_of
from apps.jobs.fusing import check_parts, judging_data, name_of
from apps.jobs.interactions import settle_columns, target_of
from apps.jobs.models import Job, JobEvent
from apps.jobs.plans import AUTO, MOST_SPREAD, check_strategy, describe, plan_training
from apps.jobs.starts import Start, check_start, settle_start
from apps.jobs.text_columns import require_column, require_text_column
from apps.registry.models import ModelVersion, RegisteredModel
from apps.registry.services import check_task
from apps.resources.budgets import check_may_start
from apps.resources.durations import Expectation, expect_duration
from apps.resources.models import Pool, Quota, Share
from apps.resources.nodes import usual_pool
from apps.resources.quotas import limit_of, share_of
from apps.resources.refusals import check_terms, find_refusal
from apps.resources.scheduling import Demand
from apps.resources.services import change_claim, release_allocation, request_allocation
from apps.resources.wanted import USUAL_TERMS, Terms, Wanted, describe_changes, wanted_of
from workers.contract import FORECASTING, KIND_TABLE, RECOMMENDATION
from workers.domains import SPREADABLE
from workers.training.field import HyperparameterError
from workers.training.hyperparameters import fields_for, resolve

LIGHT = Demand(devices=0, cpu_millicores=250, memory_bytes=5 * 10**8)
ONE_DEVICE = Demand(devices=1, cpu_millicores=500, memory_bytes=10**9)
MOST_DEVICES = {Job.Kind.PREPARE: 0}  # of the programs that use more than one only where they are spread, or less
SPREADING = (Job.Kind.TRAIN, Job.Kind.COMPRESS)  # programs that know several processes, for the tasks of SPREADABLE
S = Job.Status
MAY_BECOME = {
    S.STARTING: (S.QUEUED,),
    S.RUNNING: (S.STARTING,),
    S.QUEUED: (S.STARTING, S.RUNNING, S.PAUSED),
    S.PAUSED: (S.QUEUED, S.STARTING, S.RUNNING),
    S.SUCCEEDED: (S.STARTING, S.RUNNING),
    S.FAILED: (S.QUEUED, S.STARTING, S.RUNNING),
    S.CANCELLED: (S.QUEUED, S.PAUSED, S.STARTING, S.RUNNING),
}


def move_job(
    *,
    job: Job,
    to: str,
    only_from: str = "",
    attempt: int | None = None,
    actor: User | None = None,
    message: str = "",
    told_as: str = "",
    **changes: Any,
) -> bool:
    """Change the state by compare-and-swap; False when the job is not (or no longer) where it may become `to`.

    `attempt` is the fencing token: an execution that was given up changes nothing. `told_as` is what the event says
    instead of the new state.
    """
    rows = Job.objects.filter(pk=job.pk, status__in=(only_from,) if only_from else MAY_BECOME[to])
    if attempt is not None:
        rows = rows.filter(attempt=attempt)
    with transaction.atomic():
        if not rows.update(status=to, **changes):
            return False
        job.refresh_from_db()
        JobEvent.objects.create(job=job, attempt=job.attempt, status=told_as or to, actor=actor, message=message)
    return True


def submit_prepare(*, version: DatasetVersion) -> Job:
    """Check and freeze what was uploaded. Asking twice for one version gives the job that is already there."""
    with transaction.atomic():
        locked = DatasetVersion.objects.select_for_update().select_related("dataset__team").get(pk=version.pk)
        if existing := locked.jobs.filter(kind=Job.Kind.PREPARE).exclude(status__in=Job.ENDED).first():
            return existing
        return queue_job(
            team=locked.dataset.team,
            user=locked.created_by,
            wanted=Wanted(usual_pool(), LIGHT),
            kind=Job.Kind.PREPARE,
            name=gettext_noop("Check %(version)s") % {"version": locked},
            dataset_version=locked,
            target=locked.target,
        )


def submit_training(
    *,
    team: Team,
    user: User | None,
    version: DatasetVersion,
    model_name: str = "",
    task: str = "",
    target: str = "",
    preset: str = "balanced",
    hyperparameters: dict | None = None,
    demand: Demand = ONE_DEVICE,
    terms: Terms = USUAL_TERMS,
    pool: Pool | None = None,
    strategy: str = AUTO,
    start: Start | None = None,
) -> Job:
    """Queue a training. `strategy` is how it is spread over several devices (see apps/jobs/plans.py); `start` are the
    files of the checkpoint that it starts from, where they were settled before. Raises Unprocessable for a bad choice
    (with `field`) or where it could never run, Conflict when the data is not ready, and what `settle_start` raises.
    """
    fields = _training_fields(team, version, model_name, task, target, preset, hyperparameters or {})
    start = start or settle_start(fields["hyperparameters"].get("start_from", ""), fields["task"])
    check_start(start, fields["task"], fields["hyperparameters"])
    if start.files:
        fields["hyperparameters"]["start_from"] = start.name
        fields["inputs"] = start.files
    wanted = Wanted(pool or usual_pool(), demand, terms)
    with transaction.atomic():
        job = queue_job(team=team, user=user, wanted=wanted, strategy=strategy, **fields)
        record_audit(team=team, actor=user, action="job.train", target=str(job), details={"dataset": str(version)})
    return job


def draft_training(
    *, team: Team, user: User | None, version: DatasetVersion, preset: str = "balanced", hyperparameters: dict
) -> Job:
    """A training as it would be queued, not saved. Raises as `submit_training` does for its data and settings."""
    return Job(team=team, created_by=user, **_training_fields(team, version, "", "", "", preset, hyperparameters))


def _training_fields(
    team: Team, version: DatasetVersion, model_name: str, task: str, target: str, preset: str, hyperparameters: dict
) -> dict[str, Any]:
    require_ready(version)
    task = task or version.task
    _require_task(version, task)
    target = _require_target(version, target)
    try:
        resolved = resolve(task, preset, hyperparameters)
    except HyperparameterError as error:
        raise Unprocessable(retell(error.message), code=error.code, field=error.field) from error
    model_name = (model_name or version.dataset.name).strip()[:80]
    if model := RegisteredModel.objects.filter(team=team, name=model_name).first():
        check_task(model, task)
    if task == RECOMMENDATION:
        resolved |= settle_columns(version, resolved)
        target = target_of(resolved)
    elif task == FORECASTING:
        resolved |= series_columns.settle_columns(version, target, resolved)
    else:
        for field in fields_for(task):
            if field.type == "column":
                resolved[field.name] = require_text_column(version, target, resolved[field.name], field=field.name)
    return {
        "kind": Job.Kind.TRAIN,
        "name": gettext_noop("Train %(model)s") % {"model": model_name},
        "dataset_version": version,
        "task": task,
        "target": target,
        "preset": preset,
        "hyperparameters": resolved,
        "model_name": model_name,
    }


def submit_fusion(
    *,
    team: Team,
    user: User | None,
    versions: Sequence[ModelVersion],
    method: str,
    model_name: str = "",
    demand: Demand = ONE_DEVICE,
    terms: Terms = USUAL_TERMS,
    pool: Pool | None = None,
) -> Job:
    """Queue a fusion of the team's `versions`; the data of the first judges all, and its model gets the new version
    unless `model_name` says another. Raises Unprocessable where they do not go together, Conflict where that data is
    gone."""
    check_parts(versions, method)
    first = versions[0]
    data = judging_data(team, first)
    model_name = (model_name or first.model.name).strip()[:80]
    if model := RegisteredModel.objects.filter(team=team, name=model_name).first():
        check_task(model, first.model.task)
    with transaction.atomic():
        job = queue_job(
            team=team,
            user=user,
            wanted=Wanted(pool or usual_pool(), demand, terms),
            kind=Job.Kind.FUSE,
            name=gettext_noop("Fuse %(versions)s") % {"versions": name_of(versions)},
            dataset_version=data,
            parts=[{"id": version.pk, "name": str(version)} for version in versions],
            task=first.model.task,
            target=first.lineage.get("target", ""),
            model_name=model_name,
            method=method,
        )
        details = {"versions": [str(version) for version in versions], "method": method}
        record_audit(team=team, actor=user, action="job.fuse", target=str(job), details=details)
    return job


def queue_job(*, team: Team, user: User | None, wanted: Wanted, strategy: str = AUTO, **fields: Any) -> Job:
    """Inside a transaction. Raises what `plan_job` and `check_submit` raise."""
    fields["name"] = fields["name"][:80]
    job = Job(team=team, created_by=user, **fields)
    asked, wanted = wanted.demand.devices, plan_job(job, wanted, strategy)
    message = (
        gettext_noop("It asks for one device: the others would lie idle.") if wanted.demand.devices < asked else ""
    )
    wanted = replace(wanted, terms=replace(wanted.terms, estimate=expected_duration(job, wanted).estimate))
    check_submit(job=job, wanted=wanted, user=user)
    job.allocation = request_allocation(
        team=team, user=user, demand=wanted.demand, terms=wanted.terms, pool=wanted.pool
    )
    job.save()
    JobEvent.objects.create(job=job, attempt=0, status=Job.Status.QUEUED, actor=user, message=message)
    return job


def plan_job(job: Job, wanted: Wanted, strategy: str) -> Wanted:
    """Write into `job`, which need not be saved yet, how it is spread over the devices that are wanted; returns what is
    wanted for that: a plan for one device asks for one, another may take its devices from several machines. Raises
    Unprocessable for a strategy that is not possible."""
    check_strategy(job, strategy)
    planned = plan_training(job, wanted, strategy)
    if planned is None:
        job.plan, job.prediction = {}, {}
        return wanted
    if planned.refusal:
        raise planned.refusal
    job.plan, job.prediction = planned.proposal.plan.as_dict(), describe(planned)
    return planned.as_wanted(wanted)


def most_devices(job: Job) -> int:
    """How many devices its program can use."""
    may_spread = job.kind in SPREADING and job.task in SPREADABLE and not job.hyperparameters.get("start_from")
    return MOST_SPREAD if may_spread else MOST_DEVICES.get(job.kind, 1)


def expected_duration(job: Job, wanted: Wanted) -> Expectation:
    """How long the job will run in all, from what the pool has learned; it need not be saved yet. Where nothing has
    been learned, no longer than the time it was given."""
    features = features_of(job, wanted.demand.devices, timezone.now())
    expected = expect_duration(wanted.pool, program_of(job), features)
    longest = given_seconds(job)
    return expected if expected.seen or longest is None else expected.at_most(longest)


def check_submit(*, job: Job, wanted: Wanted, user: User | None) -> None:
    """Inside a transaction: raises what keeps the job, which need not be saved yet, from being queued. That is a budget
    or quota that is used up, what its program cannot use, terms its person may not give, or what no machine has."""
    if job.kind != Job.Kind.PREPARE:  # a check belongs to its upload, which was let in
        check_may_start(job.team, wanted.pool)
    require_job_quota(job.team, wanted.pool)
    _require_usable(job, wanted.demand)
    check_terms(team=job.team, user=user, wanted=wanted)
    if refusal := find_refusal(team=job.team, user=user, wanted=wanted):
        raise refusal


def _require_usable(job: Job, demand: Demand) -> None:
    most = most_devices(job)
    if demand.devices > most:
        raise Unprocessable(
            ngettext(
                "This program runs on %(most)d device; more would lie idle.",
                "This program runs on %(most)d devices; more would lie idle.",
                most,
            )
            % {"most": most},
            code="too_many_devices",
            field="devices",
            details={"asks": demand.devices, "most": most},
        )


def active_jobs(team: Team, pool: Pool) -> int:
    """How many jobs of the team wait or run in the pool; those that are paused do neither."""
    return Job.objects.filter(team=team, allocation__pool=pool).exclude(status__in=Job.RESTING).count()


def require_job_quota(team: Team, pool: Pool) -> None:
    """Inside a transaction: raises QuotaExceeded when the team has as many jobs as it may have. One submit at a time
    looks and adds."""
    limit = limit_of(team, Quota.Resource.JOBS, pool)
    if limit is None:
        return
    Share.objects.select_for_update(no_key=True).get(pk=share_of(team, pool).pk)
    if (active := active_jobs(team, pool)) >= limit:
        raise QuotaExceeded(
            _("Your team may have %(limit)d jobs at once and has %(active)d. Wait for one to end, or cancel one.")
            % {"limit": limit, "active": active},
            details={"limit": limit, "in_use": active},
        )


@transaction.atomic
def change_terms(*, job: Job, wanted: Wanted, user: User | None) -> Job:
    """Let a job that waits ask for something else: other devices, another pool, another class. It keeps its age in the
    queue. Raises Conflict once it waits no more, and what a submit raises."""
    job = Job.objects.select_for_update(of=("self",)).select_related("team", "allocation__pool").get(pk=job.pk)
    if job.status != S.QUEUED or job.allocation is None:
        raise Conflict(_("It does not wait any more, so nothing was changed."), code="not_waiting")
    before = wanted_of(job.allocation)
    if wanted.pool != before.pool:
        require_job_quota(job.team, wanted.pool)
    _require_usable(job, wanted.demand)
    wanted = plan_job(job, wanted, job.prediction.get("asked", AUTO))
    wanted = replace(wanted, terms=replace(wanted.terms, estimate=expected_duration(job, wanted).estimate))
    job.allocation = change_claim(allocation=job.allocation, wanted=wanted, user=user)
    job.save(update_fields=["allocation", "plan", "prediction"])
    was, now = before.choices, wanted.choices
    changes = {name: [was[name], now[name]] for name in now if now[name] != was[name]}
    with for_keeping():
        message = _("Changed what it asks for: %(changes)s.") % {"changes": describe_changes(was, now)}
    JobEvent.objects.create(job=job, attempt=job.attempt, actor=user, message=message)
    record_audit(team=job.team, actor=user, action="job.terms_changed", target=str(job), details=changes)
    return job


def require_ready(version: DatasetVersion) -> None:
    """Raises Conflict for data that is not frozen."""
    if version.status != DatasetVersion.Status.READY:
        raise Conflict(
            _("%(version)s is not ready to train on; its state is: %(status)s.")
            % {"version": version, "status": version.get_status_display()},
            code="data_not_ready",
        )


def _require_task(version: DatasetVersion, task: str) -> None:
    known = version.tasks
    if task not in known:
        raise Unprocessable(
            _('"%(task)s" cannot be trained on this data. Choose one of: %(known)s.')
            % {"task": task, "known": ", ".join(known)},
            code="unknown_task",
            field="task",
        )


def _require_target(version: DatasetVersion, target: str) -> str:
    if version.kind != KIND_TABLE:
        return ""
    return require_column(version, target or version.target, field="target")


@transaction.atomic
def cancel_job(*, job: Job, user: User | None) -> Job:
    """Stop a job. One that waits or is paused ends at once; one that runs writes a checkpoint and ends within seconds.
    Raises Conflict when it has ended already."""
    job = Job.objects.select_for_update(of=("self",)).select_related("team", "allocation").get(pk=job.pk)
    if job.is_ended:
        raise Conflict(_("This job has ended already."), code="already_ended")
    if job.status in Job.ACTIVE:
        note_request(job, user, gettext_noop("Asked to stop."), "cancel_requested_at")
    else:
        was_paused = job.status == S.PAUSED
        message = (
            gettext_noop("Cancelled while it was paused.")
            if was_paused
            else gettext_noop("Cancelled before it started.")
        )
        move_job(job=job, to=S.CANCELLED, actor=user, message=message, finished_at=Now())
        sort_out(job, is_over=True)
        release_allocation(allocation=job.allocation)
    record_audit(team=job.team, actor=user, action="job.cancel", target=str(job), details={})
    job.refresh_from_db()
    return job


def note_request(job: Job, user: User | None, message: str, field: str) -> None:
    """Inside a transaction: set the moment at which somebody asked, which its runner looks for; once."""
    if Job.objects.filter(pk=job.pk, **{field: None}).update(**{field: Now()}):
        JobEvent.objects.create(job=job, attempt=job.attempt, actor=user, message=message)
