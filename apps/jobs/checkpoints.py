"""Which checkpoints of a job stay in storage, what they are called, and what pages say of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from apps.jobs.models import Checkpoint, Job
from apps.registry.figures import Figure, figures
from workers.contract import CHECKPOINT_FAILED, CHECKPOINT_WRITTEN, MOST_KEPT_CHECKPOINTS
from workers.domains import NETWORKS

UNFINISHED = 4  # parts of so many may be on their way
FALLBACKS = 2  # the newest while a job may go on, and one should it turn out damaged


class Row(Protocol):
    """What is read of a checkpoint."""

    pk: int
    score: float | None
    is_kept: bool


@dataclass(frozen=True)
class Retention:
    """Ids of checkpoints; `best` is None where none was measured."""

    latest: int
    best: int | None
    stay: frozenset[int]


def choose(rows: Sequence[Row], *, is_over: bool) -> Retention:
    """Of at least one complete checkpoint, oldest first. With `is_over` the job has ended, and falls back no more."""
    newest = rows[-1:] if is_over else rows[-FALLBACKS:]
    scored = [row for row in rows if row.score is not None]
    best = [max(scored, key=lambda row: row.score)] if scored else []
    marked = [row for row in rows if row.is_kept][-MOST_KEPT_CHECKPOINTS:]
    stay = frozenset(row.pk for row in (*newest, *best, *marked))
    return Retention(latest=rows[-1].pk, best=best[0].pk if best else None, stay=stay)


def sort_out(job: Job, *, is_over: bool = False) -> None:
    """Inside a transaction that has locked the job: label its complete checkpoints, and forget those that need not
    stay, with what was left unfinished before the newest; of a prediction that is over, all. The sweep frees their
    space."""
    if is_over and job.kind == Job.Kind.PREDICT:  # nothing goes on from them any more
        job.checkpoints.all().delete()
        return
    rows = list(job.checkpoints.complete().order_by("id"))
    if not rows:
        return
    chosen = choose(rows, is_over=is_over)
    job.checkpoints.filter(pk__lt=chosen.latest).exclude(pk__in=chosen.stay).delete()
    for row in rows:
        labels = {"is_latest": row.pk == chosen.latest, "is_best": row.pk == chosen.best}
        if (row.is_latest, row.is_best) != tuple(labels.values()):
            job.checkpoints.filter(pk=row.pk).update(**labels)


def forget_repeated(row: Checkpoint) -> None:
    """An earlier try had come further: what it stored from here on is written again."""
    earlier = Checkpoint.objects.filter(job=row.job_id, attempt__lt=row.attempt, step__gte=row.step)
    earlier.filter(path__gte=row.path).delete()


def forget_unfinished(job: Job) -> None:
    """Parts whose other parts do not come."""
    unfinished = job.checkpoints.exclude(missing=[])
    growing = unfinished.order_by("-id").values_list("id", flat=True)[:UNFINISHED]
    unfinished.exclude(pk__in=list(growing)).delete()


@dataclass(frozen=True)
class Listed:
    """A checkpoint as a page lists it."""

    row: Checkpoint
    figures: list[Figure]


def listed_checkpoints(job: Job) -> list[Listed]:
    """Newest first; those of a table's training say nothing to people."""
    if job.kind != Job.Kind.TRAIN or job.task not in NETWORKS:
        return []
    return [Listed(row, figures(row.metrics)) for row in job.checkpoints.complete().order_by("-id")]


def checkpoint_trouble(job: Job) -> str:
    """Why checkpoints cannot be written or kept at the moment; "" while they can."""
    if job.status not in Job.ACTIVE:
        return ""
    line = job.log_lines.filter(attempt=job.attempt, code__in=(CHECKPOINT_FAILED, CHECKPOINT_WRITTEN)).last()
    return line.message if line and line.code == CHECKPOINT_FAILED else ""
