"""A disk that takes no more, as far as one process can see: the system itself refuses what is over a limit."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def files_up_to(size_bytes: int) -> Iterator[None]:
    """Inside, the system refuses to let any file of this process grow beyond `size_bytes`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def limit_files(size_bytes: int) -> None:
    """For good; called in a program before it starts."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, size_bytes))
