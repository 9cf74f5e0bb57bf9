"""New jobs from old ones: train an ended training further, and run a job again with some of its choices changed."""

from collections.abc import Mapping
from dataclasses import replace
from math import ceil
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from apps.accounts.models import User
from apps.accounts.services import record_audit
from apps.core.errors import Conflict, NotFound, Unprocessable
from apps.core.retelling import for_keeping, retell
from apps.datasets.models import DatasetVersion
from apps.jobs.compressing import submit_compression
from apps.jobs.fusing import parts_of
from apps.jobs.models import Checkpoint, Job, Metric
from apps.jobs.plans import AUTO
from apps.jobs.predicting import predict_again
from apps.jobs.services import (
    ONE_DEVICE,
    queue_job,
    require_ready,
    submit_fusion,
    submit_training,
)
from apps.jobs.starts import Start
from apps.registry.models import ModelVersion
from apps.resources.nodes import usual_pool
from apps.resources.refusals import may_prioritise
from apps.resources.scheduling import Priority
from apps.resources.wanted import Wanted, wanted_of
from workers.domains import NETWORKS
from workers.training.field import HyperparameterError
from workers.training.hyperparameters import preset_values, resolve

USUAL_EPOCHS = 5


def terms_of(job: Job, user: User | None) -> Wanted:
    """Where and how the job was to run, as far as `user` may ask for it; as usual where that is no longer known."""
    if job.allocation is None:
        return Wanted(usual_pool(), ONE_DEVICE)
    wanted = wanted_of(job.allocation).changed({})
    is_too_high = wanted.terms.priority > Priority.NORMAL and user and not may_prioritise(job.team, user)
    return wanted.changed({"priority": "normal"}) if is_too_high else wanted


# Train further


def checkpoints_to_extend(job: Job) -> list[Checkpoint]:
    """Those that a training may go on from, newest first; none of a job that is no training which has ended."""
    if job.kind != Job.Kind.TRAIN or job.task not in NETWORKS or not job.is_ended:
        return []
    return list(job.checkpoints.complete().filter(step__gt=0).order_by("-id"))


@transaction.atomic
def extend_training(*, job: Job, user: User | None, epochs: int, checkpoint_id: int | None = None) -> Job:
    """A new job that trains `epochs` more than `job`, from its newest checkpoint unless another is named. It makes the
    next version of the same model, on the same data version; the best epoch so far competes.

    Raises Conflict where it cannot go on, NotFound for the checkpoint, Unprocessable for the epochs, and what a submit
    raises.
    """
    _require_extendable(job)
    checkpoint = _checkpoint(job, checkpoint_id)
    settings = _longer(job, checkpoint, epochs)
    wanted = terms_of(job, user)
    with for_keeping():
        name = ngettext("Train %(model)s %(n)d epoch more", "Train %(model)s %(n)d epochs more", epochs)
    extended = queue_job(
        team=job.team,
        user=user,
        wanted=wanted,
        kind=Job.Kind.TRAIN,
        name=name % {"model": job.model_name, "n": epochs},
        dataset_version=job.dataset_version,
        base_version=job.output_version,
        task=job.task,
        target=job.target,
        preset=job.preset,
        hyperparameters=settings,
        model_name=job.model_name,
        inputs=job.inputs,
        strategy=job.plan.get("strategy", AUTO),
        continues=job,
        extends_step=checkpoint.step,
        extends_epoch=checkpoint.epoch,
    )
    _hand_over(checkpoint, extended)
    details = {"continues": job.pk, "step": checkpoint.step, "epochs": epochs}
    record_audit(team=job.team, actor=user, action="job.extend", target=str(extended), details=details)
    return extended


def _require_extendable(job: Job) -> None:
    if job.kind != Job.Kind.TRAIN:
        raise Conflict(_("Only a training can be trained further."), code="cannot_extend")
    if not job.is_ended:
        raise Conflict(_("This training has not ended. Wait for its end, or cancel it first."), code="not_ended")
    if job.task not in NETWORKS:
        raise Conflict(
            _(
                "A table's model cannot be trained further: it is chosen among many that are finished. "
                "Clone the job and raise trees or epochs instead."
            ),
            code="cannot_extend",
        )
    if job.dataset_version is None:
        raise Conflict(
            _("The data this model was trained on is gone, so it cannot be trained further."), code="data_gone"
        )
    require_ready(job.dataset_version)


def _checkpoint(job: Job, checkpoint_id: int | None) -> Checkpoint:
    found = checkpoints_to_extend(job)
    if not found:
        raise Conflict(_("No checkpoint of this job is kept, so there is nothing to go on from."), code="no_checkpoint")
    if checkpoint_id is None:
        return found[0]
    for checkpoint in found:
        if checkpoint.pk == checkpoint_id:
            return checkpoint
    raise NotFound(_("This job keeps no such checkpoint. Choose one that its page lists."), field="checkpoint")


def _longer(job: Job, checkpoint: Checkpoint, epochs: int) -> dict[str, Any]:
    """The job's settings with the epochs of both; an epoch that was cut is ended first."""
    if epochs < 1:
        raise Unprocessable(_("Give a number of epochs from 1."), code="out_of_range", field="epochs")
    try:
        return resolve(job.task, job.preset, job.hyperparameters | {"epochs": ceil(checkpoint.epoch) + epochs})
    except HyperparameterError as error:
        raise Unprocessable(retell(error.message), code=error.code, field=error.field) from error


def _hand_over(checkpoint: Checkpoint, job: Job) -> None:
    """The new job's own row for the same files, which so stay as long as either needs them; and the curves up to there.
    Attempt 0 is before its first."""
    old = checkpoint.job
    values = {name: getattr(checkpoint, name) for name in ("path", "step", "epoch", "score", "metrics", "files")}
    Checkpoint.objects.create(job=job, attempt=0, is_latest=True, is_best=checkpoint.score is not None, **values)
    points = old.metrics.filter(step__lte=checkpoint.step).values("name", "split", "step", "epoch", "value")
    Metric.objects.bulk_create(Metric(job=job, attempt=0, **point) for point in points.iterator())


# Run again


def clone_job(
    *, job: Job, user: User | None, version: DatasetVersion | None = None, base_version: ModelVersion | None = None,
    wanted: Wanted | None = None, changes: Mapping[str, Any],
) -> Job:  # fmt: skip
    """Run the job again. `changes` replaces some of model_name, task, target, preset, strategy and hyperparameters of a
    training (of hyperparameters those that are named), settings of a compression (those that are named), method and
    model_name of a fusion. A prediction is made again as it was. Raises Conflict, and what a submit raises."""
    wanted = wanted or terms_of(job, user)
    where = {"demand": wanted.demand, "terms": replace(wanted.terms, estimate=None), "pool": wanted.pool}
    who = {"team": job.team, "user": user}

    def chosen(*names: str) -> dict[str, Any]:
        return {name: changes.get(name, getattr(job, name)) for name in names}

    match job.kind:
        case Job.Kind.TRAIN:
            version = _data(version or job.dataset_version)
            own = own_settings(job) | dict(changes.get("hyperparameters", {}))
            names = chosen("model_name", "task", "target", "preset")
            names["strategy"] = changes.get("strategy", job.prediction.get("asked", AUTO))
            start = same_start(job, names["task"], own)
            return submit_training(**who, version=version, **names, hyperparameters=own, start=start, **where)
        case Job.Kind.COMPRESS:
            base_version = _base(base_version or job.base_version)
            settings = job.hyperparameters | dict(changes.get("settings", {}))
            return submit_compression(**who, base_version=base_version, settings=settings, **where)
        case Job.Kind.FUSE:
            return submit_fusion(**who, versions=parts_of(job), **chosen("method", "model_name"), **where)
        case Job.Kind.PREDICT:
            return predict_again(job=job, user=user, version=_base(base_version or job.base_version), **where)
    raise Conflict(_("A check belongs to its upload. Upload the data again to check it."), code="cannot_clone")


def _data(version: DatasetVersion | None) -> DatasetVersion:
    if version is None:
        raise Conflict(_("The data this job was trained on is gone. Choose other data."), code="data_gone")
    return version


def _base(version: ModelVersion | None) -> ModelVersion:
    if version is None:
        raise Conflict(_("The model it was about is gone. Choose another."), code="model_gone")
    return version


def same_start(job: Job, task: str, settings: Mapping[str, Any]) -> Start | None:
    """The very files that the job started from, whatever lies in that folder now; None where another start was
    chosen."""
    name = job.hyperparameters.get("start_from", "")
    is_same = task == job.task and settings.get("start_from") == name
    return Start(name, job.inputs) if is_same and job.inputs else None


def own_settings(job: Job) -> dict[str, Any]:
    """What the job's settings have otherwise than its preset."""
    preset = preset_values(job.task, job.preset, job.hyperparameters.get("start_from", ""))
    preset.pop("start_from", None)
    return {name: value for name, value in job.hyperparameters.items() if preset.get(name) != value}
