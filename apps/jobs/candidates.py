"""What becomes of the candidates of a compression: they are written down as they are told of, and kept as versions."""

import json
from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.accounts.services import record_audit
from apps.core.errors import Conflict, NotFound
from apps.core.storage import Blob, open_blob
from apps.jobs.lineage import lineage_of
from apps.jobs.members import lock_attempt
from apps.jobs.models import Candidate, Job
from apps.jobs.numbers import finite
from apps.registry.models import ModelVersion
from apps.registry.services import register_version
from apps.resources.storage_use import check_storage

META_FILE = "meta.json"


def record_candidate(*, job_id: int, attempt: int, event: Mapping[str, Any], files: dict[str, Blob] | None) -> bool:
    """Write down a candidate that the program told of. `files` lie in storage; None leaves those of an earlier attempt,
    which a program that resumed has not made again. False when the attempt was given up."""
    told = finite(event)
    with transaction.atomic():
        job = lock_attempt(job_id=job_id, attempt=attempt)
        if job is None:
            return False
        known = Candidate.objects.select_for_update().filter(job=job, number=told["number"])
        row = known.first() or Candidate(job=job, number=told["number"])
        row.attempt, row.node = attempt, job.node
        row.name = told["name"][: Candidate._meta.get_field("name").max_length]
        row.recipe, row.figures, row.verdict = told["recipe"], told["figures"], told["verdict"]
        row.reason, row.notes = told.get("reason", ""), told.get("notes", [])
        if files is not None:
            stored = {name: blob.as_dict() for name, blob in files.items()}
            if stored != row.files:
                row.version = None  # what was kept is another model
            row.files = stored
        row.save()
    return True


def find_candidate(job: Job, number: int) -> Candidate:
    """Raises NotFound."""
    candidate = job.candidates.select_related("version__model").filter(number=number).first()
    if candidate is None:
        raise NotFound(_("This job has no candidate %(number)d.") % {"number": number}, field="number")
    return candidate


def keep_candidate(*, job: Job, number: int, user: User | None) -> ModelVersion:
    """Make a model version of a candidate, while its job runs or after it has ended in whatever way. Asking again gives
    the version that is there. Raises NotFound, Conflict where there is nothing to keep, QuotaExceeded for storage."""
    candidate = find_candidate(job, number)
    _require_keepable(candidate)
    meta = read_meta(candidate)
    with transaction.atomic():
        locked = Candidate.objects.select_for_update(of=("self",)).select_related("version__model").get(pk=candidate.pk)
        if locked.version:
            return locked.version
        if locked.files != candidate.files:
            message = _("This candidate has just been made anew. Look at its figures and try again.")
            raise Conflict(message, code="candidate_changed")
        check_storage(job.team, asked_bytes=0)
        files = {name: Blob(file["sha256"], file["bytes"]) for name, file in locked.files.items()}
        version = _register(job, locked, meta, metrics_of(locked), files)
        record_audit(
            team=job.team, actor=user, action="job.keep_candidate", target=str(job),
            details={"candidate": number, "recipe": locked.name, "version": str(version)},
        )  # fmt: skip
    return version


def _require_keepable(candidate: Candidate) -> None:
    if candidate.is_original:
        raise Conflict(_("This is the model that was compressed; it is a version already."), code="is_original")
    if not candidate.files:
        message = _("Nothing is stored of this candidate, so it cannot be kept: %(reason)s")
        raise Conflict(message % {"reason": candidate.reason}, code="no_files")


def read_meta(candidate: Candidate) -> dict[str, Any]:
    """Its meta.json (workers/training). Raises Conflict where the file is gone."""
    file = candidate.files.get(META_FILE)
    try:
        with open_blob(file["sha256"]) as stream:
            return json.load(stream, parse_constant=lambda _name: None)
    except (TypeError, OSError, ValueError) as error:
        raise Conflict(_("The files of this candidate cannot be read any more."), code="no_files") from error


def adopt_chosen(*, job: Job, result: Mapping[str, Any], files: dict[str, Blob]) -> ModelVersion:
    """Inside the transaction that ends the job: the candidate that it chose becomes the model's next version, unless
    somebody has kept it already. `files` are the chosen model's."""
    chosen = (
        job.candidates.select_for_update(of=("self",)).select_related("version__model").get(number=result["chosen"])
    )
    return chosen.version or _register(job, chosen, result.get("meta", {}), result.get("metrics", {}), files)


def _register(job: Job, candidate: Candidate, meta: dict, metrics: dict, files: dict[str, Blob]) -> ModelVersion:
    """Inside a transaction that has locked the candidate."""
    version = register_version(
        team=job.team,
        user=job.created_by,
        model_name=job.model_name,
        task=job.task,
        meta={"compression": {"recipe": candidate.recipe}} | meta,
        metrics=metrics,
        lineage=lineage_of(job) | _compression(job, candidate),
        files=files,
        parent=job.base_version,
    )
    candidate.version = version
    candidate.save(update_fields=["version"])
    return version


def _compression(job: Job, candidate: Candidate) -> dict[str, Any]:
    """How it was made, and what both models were measured to be."""
    original = job.candidates.filter(number=0).first()
    return {
        "method": candidate.name,
        "compression": {
            "candidate": candidate.number,
            "recipe": candidate.recipe,
            "before": original.figures if original else {},
            "after": candidate.figures,
            "settings": {name: value for name, value in job.hyperparameters.items() if name != "recipes"},
        },
    }


def metrics_of(candidate: Candidate) -> dict[str, Any]:
    """{split: {name: value}}, as a model version has them."""
    figures = candidate.figures
    return {figures.get("split", "test"): figures.get("metrics", {})}
