"""What is known of work before it runs that says how long it will take. Pure."""

from datetime import datetime

from apps.jobs.models import Job
from apps.resources.scheduling.prediction import Features


def program_of(job: Job) -> str:
    """Which program runs, how thoroughly: durations are learned apart for each. "train image_classification fast"."""
    return " ".join(word for word in (job.kind, job.task, job.preset or job.method) if word)


def features_of(job: Job, devices: int, submitted_at: datetime) -> Features:
    """A job need not be saved yet. Its size is how often it goes through its data: a training once for each epoch that
    it adds, a fusion once for each version, a compression once for each candidate."""
    settings = job.hyperparameters
    rounds = _candidates(job) if job.kind == Job.Kind.COMPRESS else settings.get("epochs", len(job.parts) or 1)
    return Features(
        submitted_at=submitted_at.timestamp(),
        devices=devices,
        team=str(job.team_id),
        user=str(job.created_by_id or ""),
        kind=f"{settings.get('start_from') or settings.get('model', '')} {job.model_name}",
        data_bytes=round(_bytes_of(job) * (rounds - job.extends_epoch)),
    )


def _bytes_of(job: Job) -> int:
    version = job.dataset_version
    asked = job.inputs if job.kind == Job.Kind.PREDICT else {}  # a checkpoint is read once, however many epochs follow
    return (version.size_bytes if version else 0) + sum(file["bytes"] for file in asked.values())


def _candidates(job: Job) -> int:
    return len(job.hyperparameters.get("recipes", [])) or job.hyperparameters.get("trials", 1)


def given_seconds(job: Job) -> float | None:
    """The time that a compression was given; None of all else."""
    return job.hyperparameters.get("seconds") if job.kind == Job.Kind.COMPRESS else None
