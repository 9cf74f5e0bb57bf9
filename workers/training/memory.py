"""How much memory a training can still take, and whether it has run out.

Without torch, so that the program says its first word before torch is loaded.
"""

from __future__ import annotations

import resource
from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")
SIGNS = ("out of memory", "can't allocate memory", "bad_alloc")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that an allocation failed, on a device or in the machine's own memory."""
    return isinstance(error, MemoryError) or any(sign in str(error).lower() for sign in SIGNS)


def available_bytes() -> int:
    """What this process can still take of the machine's memory, its control group's, and what it may address."""
    bounds = [psutil.virtual_memory().available]
    limit, used = _read_bytes(CGROUP / "memory.max"), _read_bytes(CGROUP / "memory.current")
    if limit is not None and used is not None:
        bounds.append(limit - used)
    own = resource.getrlimit(resource.RLIMIT_AS)[0]
    if own != resource.RLIM_INFINITY:
        bounds.append(own - psutil.Process().memory_info().vms)
    return max(0, min(bounds))


def _read_bytes(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None  # there is no such limit, or it says "max"
