"""What trainings have decoded of their data, kept on the node for the next training on the same data.

One folder for each data file, named after its sha256, so that it is never stale. The folder's time says when it was
last used; what was used longest ago goes first where there is too much.
"""

import os
import shutil
import time
from pathlib import Path

from django.conf import settings

SAFE_SECONDS = 3600.0  # somebody may still be at work in it


def cache_folder(root: Path, sha256: str) -> Path:
    """The folder below `root` for what is decoded of the data with that sha256; all together keep within the limit."""
    folder = root / sha256
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.utime(folder)
    trim(root, most_bytes=settings.LEPTON_DECODED_BYTES, now=time.time())
    return folder


def trim(root: Path, *, most_bytes: int, now: float) -> None:
    """Remove what was used longest ago until at most `most_bytes` are left; nothing that may still be in use."""
    used_at = {folder: folder.stat().st_mtime for folder in root.iterdir()}
    sizes = {folder: size_of(folder) for folder in used_at}
    held = sum(sizes.values())
    for folder in sorted(used_at, key=used_at.__getitem__):
        if held <= most_bytes or now - used_at[folder] < SAFE_SECONDS:
            return
        shutil.rmtree(folder, ignore_errors=True)
        held -= sizes[folder]


def size_of(folder: Path) -> int:
    """Bytes that the files of the folder take on the disk."""
    return sum(file.stat().st_blocks * 512 for file in folder.iterdir())
