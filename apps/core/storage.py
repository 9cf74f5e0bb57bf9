"""Blobs: files kept once, under the sha256 of their bytes, in a folder or a bucket (LEPTON_STORAGE_URL)."""

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

import fsspec
from django.conf import settings
from django.utils.translation import gettext as _

from apps.core.errors import StorageFull

BLOCK_BYTES = 2**20
FRESH_FOR = timedelta(hours=12)


class DamagedBlob(OSError):
    """Other bytes came than were stored."""


@dataclass(frozen=True)
class Blob:
    """A stored file: hex sha256 and size in bytes."""

    sha256: str
    size_bytes: int

    def as_dict(self) -> dict:
        return {"sha256": self.sha256, "bytes": self.size_bytes}


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _locate(sha256: str) -> tuple[fsspec.AbstractFileSystem, str]:
    filesystem, root = fsspec.core.url_to_fs(settings.LEPTON_STORAGE_URL)
    return filesystem, f"{root}/blobs/{sha256[:2]}/{sha256}"


def check_reachable(url: str, *, may_make: bool = False) -> None:
    """Raises an exception when the storage at `url` does not answer, or is a folder that is not there. `may_make`
    makes the folder; where another machine's is meant to be mounted, that would only hide that it is not."""
    filesystem, root = fsspec.core.url_to_fs(url)
    is_folder = "file" in filesystem.protocol
    is_there = filesystem.isdir(root) if is_folder else filesystem.exists(root)
    if not is_there and is_folder:
        if not may_make:
            raise FileNotFoundError(f"there is no folder {root}")
        filesystem.makedirs(root, exist_ok=True)


def put_file(path: Path, sha256: str = "") -> Blob:
    """Store the file at `path`, of which the `sha256` may be known. Storing the same bytes again costs nothing. Raises
    StorageFull, and FileNotFoundError where the file goes away meanwhile."""
    sha256 = sha256 or sha256_of(path)
    blob = Blob(sha256, path.stat().st_size)
    filesystem, target = _locate(sha256)
    if _has_fresh(filesystem, target, blob.size_bytes):
        return blob
    temporary = f"{target}.{uuid.uuid4().hex}"
    try:
        filesystem.makedirs(os.path.dirname(target), exist_ok=True)
        filesystem.put_file(str(path), temporary)
        filesystem.mv(temporary, target)
    except OSError as error:
        if filesystem.exists(temporary):
            filesystem.rm(temporary)
        if not path.exists():  # whoever wrote it has taken it away meanwhile
            raise
        message = _("The file could not be stored (%(reason)s). Nothing was changed.")
        raise StorageFull(message % {"reason": error.strerror or error}) from error
    return blob


def _has_fresh(filesystem: fsspec.AbstractFileSystem, target: str, size_bytes: int) -> bool:
    """Whether the blob is there whole and young enough that no sweep is about to take it away; an old one is written
    anew."""
    if not filesystem.exists(target) or filesystem.size(target) != size_bytes:
        return False
    return datetime.now(UTC) - _utc(filesystem.modified(target)) < FRESH_FOR


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def blobs_not_touched_since(moment: datetime) -> Iterator[str]:
    """The sha256 of every blob that was last written before `moment`."""
    filesystem, root = fsspec.core.url_to_fs(settings.LEPTON_STORAGE_URL)
    for path in filesystem.find(f"{root}/blobs"):
        if _utc(filesystem.modified(path)) < moment:
            yield os.path.basename(path)


def delete_if_untouched(sha256: str, since: datetime) -> bool:
    """Delete a blob that was last written before `since`; False where it has been written again, or is gone."""
    filesystem, target = _locate(sha256)
    if not filesystem.exists(target) or _utc(filesystem.modified(target)) >= since:
        return False
    filesystem.rm(target)
    return True


def open_blob(sha256: str) -> BinaryIO:
    filesystem, target = _locate(sha256)
    return filesystem.open(target, "rb")


def discard_if_damaged(sha256: str) -> bool:
    """Take a blob away whose bytes are not what they were, so that the same file can be stored anew; whether it did."""
    with open_blob(sha256) as file:
        is_damaged = hashlib.file_digest(file, "sha256").hexdigest() != sha256
    if is_damaged:
        delete_blob(sha256)
    return is_damaged


def delete_blob(sha256: str) -> None:
    filesystem, target = _locate(sha256)
    if filesystem.exists(target):
        filesystem.rm(target)


def fetch(sha256: str, target: Path, *, is_checked: bool = False) -> Path:
    """Bring a blob to `target`; a hard link where storage is a folder on the same disk. What travels is checked, a link
    only with `is_checked`. Raises OSError, and DamagedBlob among them."""
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    filesystem, source = _locate(sha256)
    temporary = target.with_name(f"{target.name}.{uuid.uuid4().hex}")
    try:
        is_link = "file" in filesystem.protocol and _link(source, temporary)
        if not is_link:
            filesystem.get_file(source, str(temporary))
        if (is_checked or not is_link) and sha256_of(temporary) != sha256:
            raise DamagedBlob(f"blob {sha256[:12]} arrived damaged")
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


def _link(source: str, target: Path) -> bool:
    try:
        os.link(source, target)
    except OSError:
        return False
    return True


def free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free
