"""Where a model version came from, as it is written down with it for good."""

from typing import Any

from apps.core.version import code_version
from apps.jobs.models import Job


def lineage_of(job: Job) -> dict[str, Any]:
    """What the job was told; of data that was deleted since, what its base version still knows."""
    lineage = {
        "job_id": job.pk,
        **_data_of(job),
        "target": job.target,
        "preset": job.preset,
        "seed": job.hyperparameters.get("seed"),
        "hyperparameters": {} if job.kind == Job.Kind.COMPRESS else job.hyperparameters,
        "method": job.method,
        "code_version": code_version(),
    }
    if job.hyperparameters.get("start_from") and job.kind == Job.Kind.TRAIN:
        files = {name: blob["sha256"] for name, blob in job.inputs.items()}
        lineage["start"] = {"name": job.hyperparameters["start_from"], "files": files}
    if job.continues_id:
        lineage["continues"] = {"job_id": job.continues_id, "epoch": job.extends_epoch, "step": job.extends_step}
    return lineage


def _data_of(job: Job) -> dict[str, Any]:
    version = job.dataset_version
    if version:
        return {"dataset": str(version), "dataset_version_id": version.pk, "content_hash": version.content_hash}
    known = job.base_version.lineage if job.base_version else {}
    return {name: known[name] for name in ("dataset", "dataset_version_id", "content_hash") if name in known}
