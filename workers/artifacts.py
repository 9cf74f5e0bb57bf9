"""Bring a job's inputs to this node, and its results to storage."""

import logging
import os
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

from django.conf import settings
from django.utils.translation import gettext as _

from apps.core.errors import DomainError, NotFound, StorageFull
from apps.core.storage import Blob, DamagedBlob, check_reachable, discard_if_damaged, fetch, put_file
from apps.datasets.models import DatasetVersion
from apps.jobs.fusing import parts_of
from apps.jobs.models import Checkpoint, Job, Member
from apps.jobs.plans import plan_of_grant
from apps.jobs.services import SPREADING
from apps.jobs.starts.hub import download
from apps.registry.models import ModelVersion
from apps.resources.models import Device, Node
from workers.contract import (
    CANDIDATE_FOLDER,
    CHECKPOINT_FOLDER,
    KIND_AUDIO,
    KIND_IMAGES,
    KIND_TABLE,
    OUTPUT_FOLDER,
    CompressSpec,
    DataFile,
    FusedModel,
    FuseSpec,
    PredictSpec,
    PrepareSpec,
    TrainSpec,
)
from workers.decoded import cache_folder
from workers.devices import usable_cpus
from workers.parallel.plan import DDP, ParallelPlan

logger = logging.getLogger("lepton.artifacts")

WHOLE_MANIFEST = "manifest.json"
DATA_FILES = {
    KIND_AUDIO: ("data.zip", "index.jsonl"),
    KIND_IMAGES: ("data.zip", "index.jsonl"),
    KIND_TABLE: ("data.csv", "index.json"),
}


class StorageAway(OSError):
    """Storage does not answer; it may come back."""


def node_folder(node_name: str) -> Path:
    return settings.LEPTON_HOME / "nodes" / node_name


def jobs_folder(node_name: str) -> Path:
    """Where each execution has its folder, of the name job-attempt."""
    return node_folder(node_name) / "jobs"


def job_folder(member: Member) -> Path:
    return jobs_folder(member.node.name) / f"{member.job_id}-{member.attempt}"


def runner_log(member: Member) -> Path:
    return node_folder(member.node.name) / "logs" / f"runner-{member.job_id}-{member.attempt}.log"


def build_spec(
    member: Member, folder: Path, *, resume: bool
) -> PrepareSpec | TrainSpec | CompressSpec | FuseSpec | PredictSpec:
    """Fetch what the member's job needs into `folder` and describe it to the program; `resume` where a checkpoint was
    brought back before. Raises OSError."""
    match member.job.kind:
        case Job.Kind.PREPARE:
            return _prepare_spec(member.job, folder)
        case Job.Kind.TRAIN:
            return _train_spec(member, folder, resume)
        case Job.Kind.FUSE:
            return _fuse_spec(member, folder)
        case Job.Kind.PREDICT:
            return _predict_spec(member, folder, resume)
        case _:
            return _compress_spec(member, folder, resume)


def _prepare_spec(job: Job, folder: Path) -> PrepareSpec:
    files = []
    for number, file in enumerate(job.dataset_version.files.order_by("id")):
        path = fetch(file.sha256, folder / "input" / f"{number:05d}{Path(file.name).suffix.lower()}")
        files.append(DataFile(name=file.name, path=str(path), split=file.split or None))
    version = job.dataset_version
    return PrepareSpec(
        str(folder),
        tuple(files),
        seed=version.seed,
        target=version.target or None,
        recipe=version.recipe,
        first_index=_first_index(version, folder),
    )


def _first_index(version: DatasetVersion, folder: Path) -> str:
    """The index of the version whose split this one keeps; empty where it is that one."""
    first = version.first
    if first == version:
        return ""
    _data, index = DATA_FILES[first.kind]
    return str(fetch(first.outputs[index]["sha256"], folder / "input" / f"first-{index}"))


def _data_paths(job: Job, folder: Path) -> dict[str, str]:
    version = job.dataset_version
    data, index = (fetch(version.outputs[name]["sha256"], folder / "input" / name) for name in DATA_FILES[version.kind])
    return {"data_path": str(data), "index_path": str(index)}


def _cache_dir(member: Member) -> str:
    """Where decoded images or recordings of the job's data are kept; a table is read as it is."""
    version = member.job.dataset_version
    if version.kind not in (KIND_AUDIO, KIND_IMAGES):
        return ""
    data, _index = DATA_FILES[version.kind]
    return str(cache_folder(node_folder(member.node.name) / "decoded", version.outputs[data]["sha256"]))


def _train_spec(member: Member, folder: Path, resume: bool) -> TrainSpec:
    job = member.job
    return TrainSpec(
        work_dir=str(folder),
        task=job.task,
        hyperparameters=job.hyperparameters,
        target=job.target or None,
        resume=resume,
        device=device_name(member),
        threads=threads(member),
        plan=plan_of(member),
        extends_step=job.extends_step,
        checkpoint_seconds=settings.LEPTON_CHECKPOINT_SECONDS,
        cache_dir=_cache_dir(member),
        preparation=_preparation(job.dataset_version),
        start_dir=str(fetch_start(job, folder / "start")) if job.inputs else "",
        **_data_paths(job, folder),
    )


def _preparation(version: DatasetVersion) -> list[dict[str, str]]:
    steps = version.report.get("steps", ())
    return [{"id": step["id"], "message": step["message"]} for step in steps if step["is_on"]]


def fetch_start(job: Job, folder: Path) -> Path:
    """The checkpoint that a training starts from. What the hub has and storage has not is stored, so that another
    machine gets the same. Raises OSError."""
    for name, blob in job.inputs.items():
        try:
            fetch(blob["sha256"], folder / name)
        except FileNotFoundError:
            if "hub" not in blob:
                raise
            _download(blob, folder / name)
            put_file(folder / name)
    return folder


def _download(blob: dict, target: Path) -> None:
    try:
        download(blob["hub"], blob["sha256"], target)
    except DomainError as error:
        raise OSError(error.message) from error


def _compress_spec(member: Member, folder: Path, resume: bool) -> CompressSpec:
    job = member.job
    return CompressSpec(
        work_dir=str(folder),
        task=job.task,
        model_dir=str(fetch_model(job.base_version, folder / "model")),
        settings=job.hyperparameters,
        target=job.target or None,
        device=device_name(member),
        threads=threads(member),
        plan=plan_of(member),
        resume=resume,
        cache_dir=_cache_dir(member),
        speed_seconds=settings.LEPTON_SPEED_SECONDS,
        **_data_paths(job, folder),
    )


def _fuse_spec(member: Member, folder: Path) -> FuseSpec:
    """Raises NotFound where a version was deleted while the job waited."""
    job = member.job
    content_hash = job.dataset_version.content_hash
    models = [
        FusedModel(
            name=str(version),
            model_dir=str(fetch_model(version, folder / "models" / str(number))),
            is_same_data=version.lineage.get("content_hash") == content_hash,
        )
        for number, version in enumerate(parts_of(job))
    ]
    return FuseSpec(
        work_dir=str(folder),
        task=job.task,
        models=tuple(models),
        method=job.method,
        target=job.target or None,
        device=device_name(member),
        threads=threads(member),
        speed_seconds=settings.LEPTON_SPEED_SECONDS,
        **_data_paths(job, folder),
    )


def _predict_spec(member: Member, folder: Path, resume: bool) -> PredictSpec:
    """Raises NotFound where the model was deleted while the job waited."""
    job = member.job
    if job.base_version is None:
        raise NotFound(_("The model version has been deleted, so nothing can be predicted with it."))
    if job.inputs:
        ((name, blob),) = job.inputs.items()
        path = fetch(blob["sha256"], folder / "input" / f"data{Path(name).suffix.lower()}")
        data = {"name": name, "data_path": str(path)}
    else:
        data = {"name": str(job.dataset_version), **_data_paths(job, folder)}
    return PredictSpec(
        work_dir=str(folder),
        model_dir=str(fetch_model(job.base_version, folder / "model")),
        split=job.hyperparameters["split"],
        has_class_columns=job.hyperparameters["class_columns"],
        ranked_by=job.hyperparameters.get("ranked_by", ""),
        top=job.hyperparameters.get("top", 100.0),
        threads=threads(member),
        resume=resume,
        checkpoint_seconds=settings.LEPTON_CHECKPOINT_SECONDS,
        **data,
    )


def plan_of(member: Member) -> dict:
    """How training is spread over the devices of the grant: as was planned, else with their gradients averaged."""
    job = member.job
    devices = granted_devices(member)
    if job.plan:
        return plan_of_grant(job, devices).as_dict()
    return ParallelPlan(DDP, world_size=len(devices)).as_dict() if len(devices) > 1 else {}


def granted_devices(member: Member) -> list[Device]:
    """The devices of all machines of the attempt, in the order of the ranks of their processes."""
    machines = list(member.job.members.filter(attempt=member.attempt).order_by("rank").values_list("node", flat=True))
    held = member.job.allocation.devices.select_related("node").prefetch_related("node__devices")
    return sorted(held, key=lambda device: (machines.index(device.node_id), device.kind, device.index))


def held_devices(member: Member) -> list[tuple[str, int]]:
    """(kind, index) of the devices that the member's job holds on its machine."""
    held = member.job.allocation.devices.filter(node=member.node)
    return list(held.order_by("kind", "index").values_list("kind", "index"))


def is_spread(member: Member) -> bool:
    """Whether the runner starts the job as several processes, one for each device."""
    return member.job.kind == Job.Kind.TRAIN and member.job.allocation.devices_asked > 1


def own_gpus(member: Member) -> list[int]:
    """The GPUs of its machine that are all the job sees, by index; [] where it sees all and is told which is its own. A
    compression starts its several processes itself."""
    if member.job.kind not in SPREADING or member.job.allocation.devices_asked < 2:
        return []
    return [index for kind, index in held_devices(member) if kind == "cuda"]


def device_name(member: Member) -> str:
    """Where processes see no other devices than their own, each takes the one of its local rank."""
    kind, index = next(iter(held_devices(member)), ("cpu", 0))
    if kind != "cuda":
        return "cpu"
    return "cuda" if own_gpus(member) else f"cuda:{index}"


def threads(member: Member) -> int:
    return node_threads(member.node)


def node_threads(node: Node) -> int:
    """The node's cores, shared evenly among its devices."""
    return max(1, usable_cpus() // max(1, node.devices.count()))


def fetch_model(version: ModelVersion, folder: Path) -> Path:
    for artifact in version.artifacts.all():
        fetch(artifact.sha256, folder / artifact.name)
    return folder


def restore_checkpoint(job: Job, folder: Path) -> Checkpoint | None:
    """Bring the newest complete checkpoint back, the parts of all machines; the one before where it is damaged or gone.
    None where the program has to begin anew. Raises OSError when storage is away."""
    for checkpoint in job.checkpoints.complete().order_by("-id"):
        if _bring_back(checkpoint, folder):
            return checkpoint
    return None


def _bring_back(checkpoint: Checkpoint, folder: Path) -> bool:
    """Whether all of it is there, and as it was stored. A damaged file is taken out of storage, for otherwise a program
    that makes the same bytes again would find them stored already."""
    place = folder / checkpoint.path
    try:
        for name, blob in checkpoint.files.items():
            try:
                fetch(blob["sha256"], place / name, is_checked=True)
            except DamagedBlob:
                discard_if_damaged(blob["sha256"])
                raise
    except OSError as error:
        require_storage()
        logger.warning("the checkpoint %s of job %s cannot be used: %s", checkpoint.path, checkpoint.job_id, error)
        shutil.rmtree(place, ignore_errors=True)
        return False
    return True


def require_storage() -> None:
    """Raises OSError when storage is away."""
    try:
        check_reachable(settings.LEPTON_STORAGE_URL)
    except Exception as error:  # every kind of storage has exceptions of its own
        raise StorageAway(str(error)) from error


def store_folder(folder: Path, *, without: Path | None = None) -> dict[str, Blob]:
    """Every file below `folder`, and not below `without`, goes to storage; names are relative to it. Raises
    StorageAway, and StorageFull."""
    require_storage()  # a shared folder that is not mounted must not be made here
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    files = [path for path in files if without is None or not path.is_relative_to(without)]
    try:
        return {path.relative_to(folder).as_posix(): put_file(path) for path in files}
    except StorageFull:
        require_storage()
        raise


def store_outputs(folder: Path) -> dict[str, Blob]:
    """Candidates have rows of their own."""
    return store_folder(folder / OUTPUT_FOLDER, without=folder / CANDIDATE_FOLDER)


def store_candidate(folder: Path, event: dict) -> dict[str, Blob] | None:
    """{} of one that has no files; None of one that was made by an earlier attempt. Raises ValueError when the program
    names a folder outside its candidates."""
    if not event.get("folder"):
        return {}
    path = _below(folder, CANDIDATE_FOLDER, event["folder"])
    return store_folder(path) if path.is_dir() else None


def worth_storing(told: Sequence[dict]) -> list[dict]:
    """Of the checkpoints told of since the last look: the newest, the best, and those that were asked for."""
    scored = [event for event in told if event.get("score") is not None]
    wanted = [*told[-1:], *sorted(scored, key=lambda event: event["score"])[-1:]]
    return [event for event in told if event in wanted or event.get("is_kept")]


def store_checkpoint(folder: Path, event: dict) -> dict[str, Blob]:
    """Raises ValueError when the program names a folder outside its checkpoints."""
    return store_folder(_below(folder, CHECKPOINT_FOLDER, event["path"]))


def _below(folder: Path, place: str, named: str) -> Path:
    path = (folder / named).resolve()
    if not path.is_relative_to((folder / place).resolve()):
        raise ValueError(f"{named} is not below {place}")
    return path


def is_whole(files: Collection[str]) -> bool:
    """Whether these files of a checkpoint are all there are, as against the parts of some of several processes."""
    return WHOLE_MANIFEST in files


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
