"""The bytes of files on their way in: LEPTON_HOME/uploads/<id>/data. Knows no table.

What counts is the length that the database has noted. Bytes behind it are those of a write that was cut short, and are
dropped before the next one.
"""

import errno
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings
from django.utils.translation import gettext as _

from apps.core.errors import Conflict, StorageFull

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def uploads_folder() -> Path:
    return settings.LEPTON_HOME / "uploads"


def data_path(upload_id: uuid.UUID) -> Path:
    return uploads_folder() / str(upload_id) / "data"


def make_empty(upload_id: uuid.UUID) -> None:
    """Make the file, so that a full disk is noticed before the first byte is sent. Raises StorageFull."""
    path = data_path(upload_id)
    try:
        path.parent.mkdir(parents=True, mode=0o700)
        path.touch(mode=0o600)
    except OSError as error:
        raise _cannot_write(error) from error


def write_at(upload_id: uuid.UUID, offset: int, body: bytes) -> None:
    """Put `body` at `offset` and on the disk; what lay behind `offset` is dropped first.

    Raises StorageFull, the file then has `offset` bytes again, and Conflict when the file has fewer than that.
    """
    path = data_path(upload_id)
    if not path.exists() or path.stat().st_size < offset:
        raise _lost()
    with open(path, "r+b", buffering=0) as file:
        try:
            file.truncate(offset)
            _write_all(file.fileno(), offset, body)
            os.fsync(file.fileno())
        except OSError as error:
            file.truncate(offset)
            raise _cannot_write(error) from error


def _write_all(descriptor: int, offset: int, body: bytes) -> None:
    rest = memoryview(body)
    while rest:
        written = os.pwrite(descriptor, rest, offset)
        rest, offset = rest[written:], offset + written


def cut(upload_id: uuid.UUID, length: int) -> Path:
    """The file with exactly `length` bytes. Raises Conflict when it has fewer."""
    path = data_path(upload_id)
    if not path.exists() or path.stat().st_size < length:
        raise _lost()
    os.truncate(path, length)
    return path


def remove(upload_id: uuid.UUID) -> None:
    shutil.rmtree(data_path(upload_id).parent, ignore_errors=True)


def folders_older_than(seconds: float) -> Iterator[uuid.UUID]:
    """The uploads whose file has not been written to for so long."""
    limit = time.time() - seconds
    for folder in uploads_folder().glob("*-*"):
        newest = max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
        if newest < limit:
            yield uuid.UUID(folder.name)


def _cannot_write(error: OSError) -> StorageFull | OSError:
    if error.errno not in FULL:
        return error
    return StorageFull(
        _("The server's disk is full. What has arrived so far is kept. Ask an administrator for room, then go on.")
    )


def _lost() -> Conflict:
    return Conflict(
        _("The part of this file that had arrived is no longer on the server. Discard the upload and start again."),
        code="upload_lost",
    )
