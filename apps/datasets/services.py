"""The verbs of uploads, data sets and their versions."""

from collections.abc import Iterable, Sequence
from datetime import timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Max
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import Team, User
from apps.core.doorbell import ring
from apps.core.errors import Conflict, DomainError, StorageFull, TooLarge, Unprocessable
from apps.core.storage import free_bytes, put_file, sha256_of
from apps.core.templatetags.lepton import in_bytes
from apps.datasets import chunks
from apps.datasets.models import Dataset, DatasetVersion, Upload, VersionFile
from apps.datasets.names import MAX_DATASET_NAME_LENGTH, clean_dataset_name, clean_upload_name
from apps.resources.storage_use import check_storage
from workers.contract import SPLITS

UPLOAD_KEPT_HOURS = 48

Sources = Sequence[tuple[Upload, str]]


# Uploads


def create_upload(*, team: Team, user: User | None, name: str, size_bytes: int, sha256: str = "") -> Upload:
    """Announce a file. Refused at once when it cannot fit.

    Raises Unprocessable (empty_file, invalid_name), TooLarge, StorageFull and QuotaExceeded, with the numbers.
    """
    cleaned = clean_upload_name(name)
    if not cleaned:
        raise Unprocessable(
            _("A file cannot be called %(name)r. Rename it and try again.") % {"name": name[:80]},
            code="invalid_name",
            field="name",
        )
    _check_size(team, cleaned, size_bytes)
    with transaction.atomic():
        check_storage(team, size_bytes)
        upload = Upload.objects.create(
            team=team, created_by=user, name=cleaned, size_bytes=size_bytes, sha256=sha256.lower()
        )
        chunks.make_empty(upload.pk)
    return upload


def max_upload_bytes() -> int:
    return settings.LEPTON_MAX_UPLOAD_BYTES


def _check_size(team: Team, name: str, size_bytes: int) -> None:
    limit = max_upload_bytes()
    said = {"name": name, "size": in_bytes(size_bytes), "limit": in_bytes(limit)}
    if size_bytes < 1:
        raise Unprocessable(_("%(name)s is empty (0 bytes).") % said, code="empty_file", field="size_bytes")
    if size_bytes > limit:
        raise TooLarge(
            _("%(name)s has %(size)s; one file may have %(limit)s at most. Split it into parts.") % said,
            field="size_bytes",
            details={"size_bytes": size_bytes, "limit_bytes": limit},
        )
    free = free_bytes(settings.LEPTON_HOME)
    if size_bytes > free:
        raise StorageFull(
            _("%(name)s has %(size)s, and the server has only %(free)s left. Ask an administrator for room.")
            % {**said, "free": in_bytes(free)},
            details={"size_bytes": size_bytes, "free_bytes": free},
        )


def append_chunk(*, upload: Upload, offset: int, body: bytes) -> Upload:
    """Add `body` at `offset`, durably. A chunk that is wholly there already changes nothing.

    Raises Conflict (wrong_offset, with details.received_bytes), TooLarge and StorageFull; each leaves what has arrived.
    """
    with transaction.atomic():
        upload = Upload.objects.select_for_update().get(pk=upload.pk)
        end = offset + len(body)
        if end <= upload.received_bytes:
            return upload
        if offset != upload.received_bytes:
            raise _wrong_offset(upload, offset)
        if end > upload.size_bytes:
            raise TooLarge(
                _("%(name)s was announced with %(size)d bytes, and this would make it %(end)d. Start it again.")
                % {"name": upload.name, "size": upload.size_bytes, "end": end},
                code="longer_than_announced",
                details={"received_bytes": upload.received_bytes},
            )
        chunks.write_at(upload.pk, offset, body)
        upload.received_bytes = end
        upload.save(update_fields=["received_bytes", "updated_at"])
    return upload


def _wrong_offset(upload: Upload, offset: int) -> Conflict:
    return Conflict(
        _("%(name)s goes on at byte %(received)d, not at %(offset)d.")
        % {"name": upload.name, "received": upload.received_bytes, "offset": offset},
        code="wrong_offset",
        field="offset",
        details={"received_bytes": upload.received_bytes},
    )


def complete_upload(*, upload: Upload, sha256: str = "") -> Upload:
    """Store the file whole. Asking twice is fine, also at once.

    Raises Conflict (incomplete), and Unprocessable (wrong_checksum): the upload then starts again at byte 0.
    """
    upload = Upload.objects.get(pk=upload.pk)
    expected = (sha256 or upload.sha256).lower()
    if upload.status == Upload.Status.RECEIVING:
        try:
            stored = _store_whole(upload, expected)
        except FileNotFoundError:  # who asked at the same time was quicker, and has taken it away
            stored = ""
        upload = _note_stored(upload, stored)
    if upload.status == Upload.Status.COMPLETE and expected in ("", upload.sha256):
        return upload
    raise Unprocessable(
        _("%(name)s arrived damaged: its SHA-256 is not the one announced. Upload it again.") % {"name": upload.name},
        code="wrong_checksum",
        field="sha256",
        details={"received_bytes": upload.received_bytes},
    )


def _store_whole(upload: Upload, expected: str) -> str:
    """The sha256 under which all its bytes are stored; "" where they are not the `expected` ones. Outside of any
    transaction, as a large file takes minutes."""
    if upload.received_bytes < upload.size_bytes:
        raise Conflict(
            _("%(name)s is not complete: %(received)d of %(size)d bytes have arrived.")
            % {"name": upload.name, "received": upload.received_bytes, "size": upload.size_bytes},
            code="incomplete",
            details={"received_bytes": upload.received_bytes},
        )
    path = chunks.cut(upload.pk, upload.size_bytes)
    found = sha256_of(path)
    return put_file(path, found).sha256 if expected in ("", found) else ""


@transaction.atomic
def _note_stored(upload: Upload, stored: str) -> Upload:
    """The upload as it then is; whoever asks at the same time finds it complete."""
    row = Upload.objects.select_for_update().get(pk=upload.pk)
    if row.status != Upload.Status.RECEIVING:
        return row
    if not stored:
        row.received_bytes = 0
    else:
        row.sha256, row.status = stored, Upload.Status.COMPLETE
        transaction.on_commit(lambda: chunks.remove(row.pk))
    row.save(update_fields=["sha256", "status", "received_bytes", "updated_at"])
    return row


def receive_file(
    *, team: Team, user: User | None, name: str, size_bytes: int, blocks: Iterable[bytes], sha256: str = ""
) -> Upload:
    """A complete upload of a file that is already on this machine. Raises what the three verbs above raise."""
    upload = create_upload(team=team, user=user, name=name, size_bytes=size_bytes, sha256=sha256)
    try:
        for block in blocks:
            upload = append_chunk(upload=upload, offset=upload.received_bytes, body=block)
        return complete_upload(upload=upload)
    except DomainError:
        abort_upload(upload=upload)
        raise


def abort_upload(*, upload: Upload) -> None:
    """Forget an upload. Versions that were made from it keep their data."""
    pk = upload.pk
    with transaction.atomic():
        Upload.objects.filter(pk=pk).delete()
        transaction.on_commit(lambda: chunks.remove(pk))


def sweep_uploads() -> int:
    """Forget uploads that nobody touched for UPLOAD_KEPT_HOURS, and files without a row. Returns how many."""
    limit = timezone.now() - timedelta(hours=UPLOAD_KEPT_HOURS)
    stale = list(Upload.objects.filter(updated_at__lt=limit))
    for upload in stale:
        abort_upload(upload=upload)
    for upload_id in chunks.folders_older_than(UPLOAD_KEPT_HOURS * 3600):
        if not Upload.objects.filter(pk=upload_id).exists():
            chunks.remove(upload_id)
    return len(stale)


# Data sets


def create_dataset(
    *, team: Team, user: User | None, name: str, uploads: Sources, target: str = "", description: str = ""
) -> DatasetVersion:
    """A data set with its first version, which is then checked.

    Raises Unprocessable (invalid_name), Conflict (name_taken) and what `add_version` raises.
    """
    name = clean_dataset_name(name)
    if not name or len(name) > MAX_DATASET_NAME_LENGTH:
        raise Unprocessable(
            _("Give the data set a name of 1 to %(n)d letters.") % {"n": MAX_DATASET_NAME_LENGTH},
            code="invalid_name",
            field="name",
        )
    with transaction.atomic():
        dataset = _insert(team, user, name, description)
        return add_version(dataset=dataset, user=user, uploads=uploads, target=target)


def _insert(team: Team, user: User | None, name: str, description: str) -> Dataset:
    try:
        with transaction.atomic():
            return Dataset.objects.create(team=team, created_by=user, name=name, description=description.strip())
    except IntegrityError as error:
        raise Conflict(
            _('Your team already has a data set called "%(name)s". Choose another name, or add a version to that one.')
            % {"name": name},
            code="name_taken",
            field="name",
        ) from error


def add_version(*, dataset: Dataset, user: User | None, uploads: Sources, target: str = "") -> DatasetVersion:
    """The next version, made from complete uploads; its check starts by itself.

    Raises Unprocessable (no_files, unknown_split) and Conflict (incomplete).
    """
    _check_sources(dataset.team_id, uploads)
    with transaction.atomic():
        version = insert_version(dataset, user, target=target)
        VersionFile.objects.bulk_create(
            VersionFile(
                version=version,
                upload=upload,
                name=upload.name,
                sha256=upload.sha256,
                size_bytes=upload.size_bytes,
                split=split,
            )
            for upload, split in uploads
        )
        ring("apps.jobs.tasks.prepare_version", version.pk)
    return version


def insert_version(dataset: Dataset, user: User | None, **fields) -> DatasetVersion:
    """The next version, still without files. Inside a transaction."""
    Dataset.objects.select_for_update().get(pk=dataset.pk)
    number = (dataset.versions.aggregate(n=Max("number"))["n"] or 0) + 1
    return DatasetVersion.objects.create(dataset=dataset, number=number, created_by=user, **fields)


def _check_sources(team_id: int, uploads: Sources) -> None:
    if not uploads:
        raise Unprocessable(_("Choose at least one file."), code="no_files", field="uploads")
    for upload, split in uploads:
        said = {"name": upload.name, "split": split}
        if upload.team_id != team_id:
            raise ValueError(f"upload {upload.pk} is another team's")
        if upload.status != Upload.Status.COMPLETE:
            raise Conflict(_("%(name)s has not arrived completely. Finish the upload first.") % said, code="incomplete")
        if split not in ("", *SPLITS):
            raise Unprocessable(
                _("%(name)s is meant for %(split)r; known are train, val and test.") % said,
                code="unknown_split",
                field="uploads",
            )


def apply_report(*, version: DatasetVersion, report: dict, outputs: dict[str, dict]) -> DatasetVersion:
    """Note what the check found: the version is ready, or asks what to do with bad items.

    `outputs` maps names to {"sha256", "bytes"}. A version that is checked already stays as it is.
    """
    was_accepted = version.parent_id is not None  # it comes from a ready version, whose bad items were left out
    is_sound = was_accepted or not report.get("bad_total")
    fields = {
        "kind": report["kind"],
        "task": report.get("task") or "",
        "target": (report.get("target") or version.target or "")[:200],
        "report": report,
        "outputs": outputs,
        "content_hash": report["content_hash"],
        "item_count": report["items"],
        "size_bytes": sum(outputs[name]["bytes"] for name in ("data.zip", "data.csv") if name in outputs),
        "frozen_at": timezone.now() if is_sound else None,
    }
    S = DatasetVersion.Status
    _move(version, S.CHECKING, S.READY if is_sound else S.NEEDS_REVIEW, **fields)
    return version


def reject_version(*, version: DatasetVersion, code: str, message: str, hint: str = "") -> DatasetVersion:
    """The data cannot be used; `message` says why and `hint` what to do."""
    S = DatasetVersion.Status
    _move(version, S.CHECKING, S.REJECTED, error_code=code[:60], error_message=message, error_hint=hint)
    return version


def accept_without_bad_items(*, version: DatasetVersion, user: User | None) -> DatasetVersion:
    """Leave out what was named as bad; the rest is frozen. Asking twice is fine."""
    S = DatasetVersion.Status
    if not _move(version, S.NEEDS_REVIEW, S.READY, frozen_at=timezone.now()) and version.status != S.READY:
        raise Conflict(
            _("Version %(number)d of %(name)s does not wait for a review; it is %(status)s.")
            % {"number": version.number, "name": version.dataset, "status": version.get_status_display().lower()},
            code="not_in_review",
        )
    return version


def _move(version: DatasetVersion, old: str, new: str, **fields) -> bool:
    """Compare and swap of the status; `version` is loaded anew. False when it was not `old`."""
    moved = DatasetVersion.objects.filter(pk=version.pk, status=old).update(status=new, **fields)
    version.refresh_from_db()
    return bool(moved)


def delete_dataset(*, dataset: Dataset) -> None:
    """Delete a data set with all versions. Raises Conflict (dataset_in_use) while jobs work on it.

    Finished jobs and models stay and keep their lineage as text."""
    with transaction.atomic():
        Dataset.objects.select_for_update().get(pk=dataset.pk)
        list(dataset.versions.select_for_update())
        busy = dataset.versions.filter(jobs__isnull=False, jobs__finished_at=None).values_list("jobs__name", flat=True)
        if names := list(busy[:3]):
            raise Conflict(
                _('"%(name)s" is in use by: %(jobs)s. Wait until that has ended, or cancel it.')
                % {"name": dataset.name, "jobs": ", ".join(names)},
                code="dataset_in_use",
            )
        dataset.delete()
