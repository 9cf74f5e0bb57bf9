"""Bring a job's inputs to this node, and its results to storage."""

import os
from pathlib import Path

from django.conf import settings

from apps.core.storage import Blob, fetch, put_file
from apps.jobs.models import Checkpoint, Job, Member
from apps.registry.models import ModelVersion
from workers.contract import CHECKPOINT_FOLDER, OUTPUT_FOLDER, CompressSpec, DataFile, PrepareSpec, TrainSpec
from workers.devices import usable_cpus
from workers.parallel.plan import DDP, ParallelPlan

DATA_FILES = {"image_folder": ("data.zip", "index.jsonl"), "table": ("data.csv", "index.json")}


def node_folder(node_name: str) -> Path:
    return settings.LEPTON_HOME / "nodes" / node_name


def job_folder(member: Member) -> Path:
    return node_folder(member.node.name) / "jobs" / f"{member.job_id}-{member.attempt}"


def build_spec(member: Member, folder: Path) -> PrepareSpec | TrainSpec | CompressSpec:
    """Fetch what the member's job needs into `folder` and describe it to the program."""
    match member.job.kind:
        case Job.Kind.PREPARE:
            return _prepare_spec(member.job, folder)
        case Job.Kind.TRAIN:
            return _train_spec(member, folder)
        case _:
            return _compress_spec(member, folder)


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


def _train_spec(member: Member, folder: Path) -> TrainSpec:
    job = member.job
    return TrainSpec(
        work_dir=str(folder),
        task=job.task,
        hyperparameters=job.hyperparameters,
        target=job.target or None,
        resume=restore_checkpoint(job, folder),
        device=device_name(member),
        threads=threads(member),
        plan=plan_of(job),
        checkpoint_seconds=settings.LEPTON_CHECKPOINT_SECONDS,
        **_data_paths(job, folder),
    )


def _compress_spec(member: Member, folder: Path) -> CompressSpec:
    job = member.job
    return CompressSpec(
        work_dir=str(folder),
        task=job.task,
        model_dir=str(fetch_model(job.base_version, folder / "model")),
        method=job.method,
        target=job.target or None,
        threads=threads(member),
        **_data_paths(job, folder),
    )


def plan_of(job: Job) -> dict:
    """How the training is spread: as was planned, else over all devices of the grant with their gradients averaged."""
    devices = job.allocation.devices_asked
    if job.plan or devices <= 1:
        return job.plan
    return ParallelPlan(DDP, world_size=devices).as_dict()


def held_devices(member: Member) -> list[tuple[str, int]]:
    """(kind, index) of the devices that the member's job holds on its machine."""
    held = member.job.allocation.devices.filter(node=member.node)
    return list(held.order_by("kind", "index").values_list("kind", "index"))


def is_spread(member: Member) -> bool:
    """Whether the job runs as several processes, one for each device."""
    return member.job.kind == Job.Kind.TRAIN and member.job.allocation.devices_asked > 1


def device_name(member: Member) -> str:
    """Where a gang's processes see no other devices than their own, each takes the one of its local rank."""
    kind, index = next(iter(held_devices(member)), ("cpu", 0))
    if kind != "cuda":
        return "cpu"
    return "cuda" if is_spread(member) else f"cuda:{index}"


def threads(member: Member) -> int:
    """The node's cores, shared evenly among its devices."""
    return max(1, usable_cpus() // max(1, member.node.devices.count()))


def fetch_model(version: ModelVersion, folder: Path) -> Path:
    for artifact in version.artifacts.all():
        fetch(artifact.sha256, folder / artifact.name)
    return folder


def restore_checkpoint(job: Job, folder: Path) -> bool:
    """Bring the two newest complete checkpoints back, the parts of all machines; False when there is none. Should the
    newest turn out damaged, the program falls back to the one before."""
    newest = list(job.checkpoints.complete().order_by("-id")[:2])
    for checkpoint in {found.path: found for found in reversed(newest)}.values():
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
    return job.checkpoints.complete().order_by("-id").first()


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
