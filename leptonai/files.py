"""The bytes of a file that people hold in their hands in one way or another."""

import os
from pathlib import Path
from typing import Any


def read_file(item: Any) -> bytes:
    """Of a path, bytes, or an open file.

    Raises TypeError that says what is accepted, and OSError for a path that cannot be read.
    """
    if isinstance(item, bytes | bytearray | memoryview):
        return bytes(item)
    if isinstance(item, str | os.PathLike):
        return Path(item).read_bytes()
    if hasattr(item, "read"):
        return item.read()
    raise TypeError(f"{type(item).__name__} is not a file: give a path, bytes, or an open file")
