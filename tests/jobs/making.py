"""Data, jobs and machines that are made through the same verbs as in life."""

from pathlib import Path

from django.utils import timezone

from apps.accounts.models import Team, User
from apps.core.storage import Blob, put_file
from apps.datasets.models import Dataset, DatasetVersion
from apps.jobs import attempts
from apps.jobs.members import expire_leases
from apps.jobs.models import Job
from apps.jobs.services import submit_training
from apps.resources.models import Node
from apps.resources.nodes import default_pool, register_node
from apps.resources.planning import schedule_pool

DIGITS = ["0", "1", "2"]
COLUMNS = [
    {"name": "age", "type": "numeric", "unique": 73},
    {"name": "work", "type": "categorical", "unique": 8},
    {"name": "income", "type": "boolean", "unique": 2},
    {"name": "notes", "type": "text", "unique": 900},
]
TEST_FIGURES = {"accuracy": 0.975, "macro_f1": 0.97, "log_loss": 0.081}


def make_version(team: Team, name: str = "Digits", **changes) -> DatasetVersion:
    fields = {
        "number": 1,
        "status": DatasetVersion.Status.READY,
        "kind": "image_folder",
        "task": "image_classification",
        "content_hash": "ab" * 32,
        "item_count": 180,
        "report": {"splits": {"train": 144, "val": 18, "test": 18}, "classes": [{"name": name} for name in DIGITS]},
    }
    return DatasetVersion.objects.create(dataset=Dataset.objects.create(team=team, name=name), **(fields | changes))


def make_table(team: Team, name: str = "Income") -> DatasetVersion:
    report = {"columns": COLUMNS, "splits": {"train": 800, "val": 100, "test": 100}}
    return make_version(team, name, kind="table", task="tabular_classification", target="income", report=report)


def make_node(name: str = "one", devices: int = 2) -> Node:
    cpus = [{"kind": "cpu", "index": index, "name": "CPU", "memory_bytes": 10**9} for index in range(devices)]
    facts = {"cpu_count": 2, "memory_bytes": 16 * 10**9, "storage_free_bytes": 10**9, "devices": cpus}
    return register_node(name=name, facts=facts)


def store(folder: Path, name: str, body: bytes) -> Blob:
    path = folder / name.replace("/", "_")
    path.write_bytes(body)
    return put_file(path)


def submit(team: Team, user: User | None = None, version: DatasetVersion | None = None, **choices) -> Job:
    return submit_training(team=team, user=user, version=version or make_version(team), **choices)


def run(job: Job, node: Node) -> Job:
    """Grant, claim and start it, however long ago the test made the machine."""
    Node.objects.filter(pk=node.pk).update(last_beat_at=timezone.now())
    schedule_pool(default_pool())
    running = attempts.claim_job(job_id=job.pk, node=node)
    assert attempts.mark_running(job=running, attempt=running.attempt)
    return running


def reap() -> int:
    """Give up every job with a lease that has run out; returns how many."""
    expire_leases()
    return sum(attempts.settle_attempt(job) for job in attempts.unsettled_jobs())


def metric(name: str, value: float, split: str, step: int) -> dict:
    return {"type": "metric", "name": name, "value": value, "split": split, "step": step, "epoch": step / 10}


def log(message: str, at: float = 1_700_000_000.0) -> dict:
    return {"type": "log", "level": "info", "message": message, "at": at}


def report(job: Job, *events: dict) -> None:
    assert attempts.record_events(job_id=job.pk, attempt=job.attempt, events=list(events))


def succeed(job: Job, folder: Path) -> Job:
    """End it well, with a model of two files and one mistake as a picture."""
    mistake = {"image": "mistakes/00.png", "true": "1", "predicted": "2", "probability": 0.93, "source": "1/a.png"}
    gone = {**mistake, "image": "mistakes/01.png"}
    result = {
        "metrics": {"test": TEST_FIGURES, "val": {"accuracy": 0.98}},
        "meta": {"classes": DIGITS, "input": {"kind": "image", "height": 8, "width": 8, "channels": 1}},
        "confusion": {"split": "test", "labels": DIGITS, "matrix": [[6, 0, 0], [0, 5, 1], [0, 0, 6]]},
        "mistakes": [mistake, gone],
    }
    outputs = {
        "model/model.safetensors": store(folder, "model.safetensors", b"weights" * 100),
        "model/meta.json": store(folder, "meta.json", b"{}"),
        "mistakes/00.png": store(folder, "00.png", b"\x89PNG\r\n\x1a\n picture"),
    }
    assert attempts.succeed_job(job=job, attempt=job.attempt, result=result, outputs=outputs)
    job.refresh_from_db()
    return job


def fail(job: Job, **failure) -> Job:
    known = {"code": "diverged", "message": "Training diverged.", "hint": "", "blame": "settings", "evidence": "nan"}
    assert attempts.fail_job(job=job, attempt=job.attempt, failure=known | failure)
    job.refresh_from_db()
    return job
