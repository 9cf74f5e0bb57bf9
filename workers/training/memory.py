"""Memory of a training: kept for the next step, a batch size that fits, and telling when it has run out."""

from __future__ import annotations

import ctypes

import torch

# Parameters of glibc's mallopt (malloc.h).
TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3
KEPT_BYTES = 2**31 - 1
GROWTH_BYTES = 64 * 2**20
LARGEST_ON_HEAP = 2**30


def keep_freed_memory() -> None:
    """Let this process keep what it frees instead of giving it back to the system after every operation.

    A step asks for the same large blocks as the step before. glibc would map them anew each time, and the system would
    clear every page again, which takes a tenth of a step. Elsewhere this does nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    for parameter, value in ((MMAP_THRESHOLD, LARGEST_ON_HEAP), (TRIM_THRESHOLD, KEPT_BYTES), (TOP_PAD, GROWTH_BYTES)):
        mallopt(parameter, value)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that an allocation failed, on a device or in the machine's own memory."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)
