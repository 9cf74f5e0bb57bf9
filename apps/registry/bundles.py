"""All files of a model version as one ZIP, made while it is sent. Pure but for the blobs it reads."""

import zipfile
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from apps.core.storage import BLOCK_BYTES, open_blob

FILE_MODE = 0o644 << 16


class _Pipe:
    """A file that only grows: what ZipFile writes is taken away again and again."""

    def __init__(self) -> None:
        self.written = bytearray()

    def write(self, data: bytes) -> int:
        self.written += data
        return len(data)

    def flush(self) -> None:
        """Nothing waits here."""

    def take(self) -> bytes:
        taken, self.written = bytes(self.written), bytearray()
        return taken


def zip_blobs(files: Iterable[tuple[str, str]], modified: tuple[int, int, int, int, int, int]) -> Iterator[bytes]:
    """Blocks of a ZIP with `files`, (name, sha256) each, stored uncompressed. Raises FileNotFoundError."""
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED) as archive:
        for name, sha256 in files:
            entry = zipfile.ZipInfo(name, modified)
            entry.external_attr = FILE_MODE
            with open_blob(sha256) as source, archive.open(entry, "w", force_zip64=True) as target:
                for block in _blocks(source):
                    target.write(block)
                    yield pipe.take()
            yield pipe.take()
    yield pipe.take()


def _blocks(source: BinaryIO) -> Iterator[bytes]:
    while block := source.read(BLOCK_BYTES):
        yield block
