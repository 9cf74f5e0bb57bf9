"""Bring a job's inputs to this node, and its results to storage."""

import os
from pathlib import Path

from django.conf import settings

from apps.core.storage import Blob, fetch, put_file
from apps.jobs.models import Checkpoint, Job
from apps.registry.models import ModelVersion
from apps.resources.models import Node
from workers.contract import CHECKPOINT_FOLDER, OUTPUT_FOLDER, CompressSpec, DataFile, PrepareSpec, TrainSpec
from workers.devices import usable_cpus

DATA_FILES = {"image_folder": ("data.zip", "index.jsonl"), "table": ("data.csv", "index.json")}


def node_folder(node_name: str) -> Path:
    return settings.LEPTON_HOME / "nodes" / node_name


def job_folder(job: Job) -> Path:
    return node_folder(job.node.name) / "jobs" / f"{job.pk}-{job.attempt}"


def build_spec(job: Job, folder: Path) -> PrepareSpec | TrainSpec | CompressSpec:
    """Fetch what the job needs into `folder` and describe it to the program."""
    match job.kind:
        case Job.Kind.PREPARE:
            return _prepare_spec(job, folder)
        case Job.Kind.TRAIN:
            return _train_spec(job, folder)
        case _:
            return _compress_spec(job, folder)


def _prepare_spec(job: Job, folder: Path) -> PrepareSpec:
    files = []
    for number, file in enumerate(job.dataset_version.files.order_by("id")):
        path = fetch(file.sha256, folder / "input" / f"{number:05d}{Path(file.name).suffix.lower()}")
        files.append(DataFile(name=file.name, path=str(path), split=file.split or None))
    version = job.dataset_version
    return PrepareSpec(str(folder), tuple(files), seed=version.seed, target=version.target or None)


def _data_paths(job: Job, folder: Path) -> dict[str, str]:
    version = job.dataset_version
    data, index = (fetch(version.outputs[name]["sha256"], folder / "input" / name) for name in DATA_FILES[version.kind])
    return {"data_path": str(data), "index_path": str(index)}


def _train_spec(job: Job, folder: Path) -> TrainSpec:
    return TrainSpec(
        work_dir=str(folder),
        task=job.task,
        hyperparameters=job.hyperparameters,
        target=job.target or None,
        resume=restore_checkpoint(job, folder),
        device=device_name(job),
        threads=threads(job),
        **_data_paths(job, folder),
    )


def _compress_spec(job: Job, folder: Path) -> CompressSpec:
    return CompressSpec(
        work_dir=str(folder),
        task=job.task,
        model_dir=str(fetch_model(job.base_version, folder / "model")),
        method=job.method,
        target=job.target or None,
        threads=threads(job),
        **_data_paths(job, folder),
    )


def device_name(job: Job) -> str:
    device = job.allocation.devices.first()
    return f"cuda:{device.index}" if device and device.kind == "cuda" else "cpu"


def threads(job: Job) -> int:
    return node_threads(job.node)


def node_threads(node: Node) -> int:
    """The node's cores, shared evenly among its devices."""
    return max(1, usable_cpus() // max(1, node.devices.count()))


def fetch_model(version: ModelVersion, folder: Path) -> Path:
    for artifact in version.artifacts.all():
        fetch(artifact.sha256, folder / artifact.name)
    return folder


def restore_checkpoint(job: Job, folder: Path) -> bool:
    """Bring the two newest checkpoints back, oldest first; False when there is none. Should the newest turn out
    damaged, the program falls back to the one before."""
    newest = list(job.checkpoints.order_by("-id")[:2])
    for checkpoint in reversed(newest):
        for name, blob in checkpoint.files.items():
            fetch(blob["sha256"], folder / checkpoint.path / name)
    return bool(newest)


def store_folder(folder: Path) -> dict[str, Blob]:
    """Every file below `folder` goes to storage; names are relative to it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {path.relative_to(folder).as_posix(): put_file(path) for path in files}


def store_outputs(folder: Path) -> dict[str, Blob]:
    return store_folder(folder / OUTPUT_FOLDER)


def store_checkpoint(folder: Path, event: dict) -> dict[str, Blob]:
    """Raises ValueError when the program names a folder outside its checkpoints."""
    path = (folder / event["path"]).resolve()
    if not path.is_relative_to((folder / CHECKPOINT_FOLDER).resolve()):
        raise ValueError(f"{event['path']} is not below {CHECKPOINT_FOLDER}")
    return store_folder(path)


def newest_checkpoint(job: Job) -> Checkpoint | None:
    return job.checkpoints.order_by("-id").first()


SECRETS = frozenset({"LEPTON_SECRET_KEY", "DATABASE_URL", "REDIS_URL"})  # none of a program's business


def python_environment(job_threads: int) -> dict[str, str]:
    """What every program is started with: as many threads as it was given, and no way to reach a hub."""
    count = str(job_threads)
    return {
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "OMP_WAIT_POLICY": "PASSIVE",  # spinning threads starve each other where programs share cores
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": os.pathsep.join([str(settings.BASE_DIR), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
    }
