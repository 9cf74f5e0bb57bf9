"""What is known of work before it runs that says how long it will take. Pure."""

from collections.abc import Mapping

from apps.jobs.models import Job


def features_of(job: Job, devices: int) -> Mapping[str, str | float]:
    """Words say what is alike, numbers how large it is; a job need not be saved yet."""
    version, settings = job.dataset_version, job.hyperparameters
    return {
        "team": str(job.team_id),
        "user": str(job.created_by_id or ""),
        "kind": job.kind,
        "task": job.task,
        "preset": job.preset or job.method,
        "model": str(settings.get("model", "")),
        "name": job.model_name,
        "devices": float(devices),
        "bytes": float(version.size_bytes if version else 0),
        "items": float(version.item_count if version else 0),
        "epochs": float(settings.get("epochs", 0)),
    }
