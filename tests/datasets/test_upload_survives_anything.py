"""Whatever is sent in whatever order: what the site says it has is the file's beginning, and it can be finished."""

import errno
import hashlib
import os
from unittest.mock import patch

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.core.errors import DomainError
from apps.core.storage import open_blob
from apps.datasets import chunks
from apps.datasets.models import Upload
from apps.datasets.services import append_chunk, complete_upload, create_upload

CONTENT = bytes(range(1, 41))

place = st.integers(0, len(CONTENT))
send = st.tuples(st.just("send"), place, place)
steps = st.lists(
    st.one_of(
        send,
        st.tuples(st.just("go on"), st.integers(1, 12), st.just(0)),
        st.tuples(st.just("disk full"), st.integers(1, 12), st.integers(0, 11)),
        st.tuples(st.just("die after writing"), st.integers(1, 12), st.just(0)),
        st.tuples(st.just("too long"), place, st.just(0)),
        st.tuples(st.just("complete"), st.just(0), st.just(0)),
        st.tuples(st.just("complete as something else"), st.just(0), st.just(0)),
    ),
    max_size=14,
)


def take(upload: Upload, step: tuple[str, int, int]) -> None:
    """One step of a client, a disk or a process that goes wrong. Raises DomainError."""
    kind, first, second = step
    at = upload.received_bytes
    if kind == "send":
        start, end = sorted((first, second))
        append_chunk(upload=upload, offset=start, body=CONTENT[start:end])
    elif kind == "go on":
        append_chunk(upload=upload, offset=at, body=CONTENT[at : at + first])
    elif kind == "too long":
        append_chunk(upload=upload, offset=at, body=CONTENT[at:] + b"!" * (first + 1))
    elif kind == "complete":
        complete_upload(upload=upload)
    elif kind == "complete as something else":
        complete_upload(upload=upload, sha256="0" * 64)
    elif kind == "disk full":
        with patch.object(os, "pwrite", lambda fd, body, offset: fill_up(fd, body[:second], offset)):
            append_chunk(upload=upload, offset=at, body=CONTENT[at : at + first])
    elif kind == "die after writing" and upload.status == Upload.Status.RECEIVING:
        chunks.write_at(upload.pk, at, CONTENT[at : at + first][::-1])


def fill_up(descriptor: int, body: bytes, offset: int) -> int:
    os.lseek(descriptor, offset, os.SEEK_SET)
    os.write(descriptor, body)
    raise OSError(errno.ENOSPC, "No space left on device")


def has_the_beginning(upload: Upload) -> bool:
    if upload.status == Upload.Status.COMPLETE:
        return open_blob(upload.sha256).read() == CONTENT
    return chunks.data_path(upload.pk).read_bytes()[: upload.received_bytes] == CONTENT[: upload.received_bytes]


def finish(upload: Upload) -> Upload:
    """What an honest client does with an upload that it finds."""
    while upload.received_bytes < upload.size_bytes:
        at = upload.received_bytes
        upload = append_chunk(upload=upload, offset=at, body=CONTENT[at : at + 7])
    return complete_upload(upload=upload, sha256=hashlib.sha256(CONTENT).hexdigest())


@given(steps)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_order_of_chunks_faults_and_retries_harms_a_file(team, story):
    upload = create_upload(team=team, user=None, name="a.bin", size_bytes=len(CONTENT))
    for step in story:
        before = upload.received_bytes
        try:
            take(upload, step)
        except DomainError as error:
            upload.refresh_from_db()
            is_restart = error.code == "wrong_checksum" and upload.received_bytes == 0
            assert upload.received_bytes == before or is_restart
        upload.refresh_from_db()
        assert has_the_beginning(upload)
    assert has_the_beginning(finish(upload))
