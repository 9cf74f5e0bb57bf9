"""Chunked uploads that go on where they were cut off."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from leptonai.errors import ConflictError
from leptonai.records import Record
from leptonai.transport import Http


@dataclass(frozen=True)
class Progress:
    """How far an upload is; sizes in bytes."""

    name: str
    sent_bytes: int
    total_bytes: int
    seconds: float

    @property
    def fraction(self) -> float:
        return self.sent_bytes / self.total_bytes if self.total_bytes else 1.0

    @property
    def bytes_per_second(self) -> float:
        return self.sent_bytes / self.seconds if self.seconds else 0.0


def upload_file(http: Http, path: Path, on_progress: Callable[[Progress], None] | None = None) -> Record:
    """Send a file in chunks, each with its sha256, and the whole with its own. Raises ApiError, OSError."""
    size = path.stat().st_size
    upload = http.request("POST", "/api/v1/uploads/", json={"name": path.name, "size_bytes": size})
    began = time.monotonic()
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(upload["chunk_bytes"]):
            offset = file.tell() - len(chunk)
            digest.update(chunk)
            upload = _send_chunk(http, upload, offset, chunk)
            if on_progress:
                on_progress(Progress(path.name, offset + len(chunk), size, time.monotonic() - began))
    return http.request("POST", f"/api/v1/uploads/{upload['id']}/complete/", json={"sha256": digest.hexdigest()})


def _send_chunk(http: Http, upload: Record, offset: int, chunk: bytes) -> Record:
    """A chunk whose answer got lost is there already when it is sent again; the site says so."""
    headers = {"Content-Type": "application/octet-stream", "X-Chunk-SHA256": hashlib.sha256(chunk).hexdigest()}
    path = f"/api/v1/uploads/{upload['id']}/"
    try:
        return http.request("PUT", path, params={"offset": offset}, content=chunk, headers=headers)
    except ConflictError as error:
        if error.code != "wrong_offset" or error.details.get("received_bytes") != offset + len(chunk):
            raise
        return http.request("GET", path)
