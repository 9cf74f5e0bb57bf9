"""Takes stored files away that nothing refers to any more: deleted data, old checkpoints, forgotten uploads."""

from datetime import datetime, timedelta

from apps.core.storage import FRESH_FOR, blobs_not_touched_since, delete_if_untouched
from apps.datasets.models import DatasetVersion, Upload, VersionFile
from apps.jobs.models import Candidate, Checkpoint, Job
from apps.registry.models import Artifact

FILES_OF_ROWS = (
    (DatasetVersion, "outputs"),
    (Job, "inputs"),
    (Job, "outputs"),
    (Checkpoint, "files"),
    (Candidate, "files"),
)
KEPT_FOR = 2 * FRESH_FOR  # a file that is stored again in between is written anew, so none is taken while it is in use


def sweep_blobs(*, now: datetime, kept_for: timedelta = KEPT_FOR) -> int:
    """Delete what was last written before `now - kept_for` and is referred to nowhere; returns how many files."""
    candidates = set(blobs_not_touched_since(now - kept_for))
    unused = candidates - referenced_blobs()
    return sum(delete_if_untouched(sha256, now - kept_for) for sha256 in unused)


def referenced_blobs() -> set[str]:
    """The sha256 of every stored file that a row refers to."""
    found: set[str] = set()
    for model in (Upload, VersionFile, Artifact):
        found.update(model.objects.exclude(sha256="").values_list("sha256", flat=True))
    for model, field in FILES_OF_ROWS:
        for files in model.objects.exclude(**{field: {}}).values_list(field, flat=True).iterator():
            found.update(blob["sha256"] for blob in files.values())
    return found
