"""How many threads numeric libraries may use."""

from contextlib import AbstractContextManager

from threadpoolctl import threadpool_limits

MIN_ROWS_FOR_THREADS = 10_000


def thread_limit(rows: int) -> AbstractContextManager:
    """One thread while working on few `rows`: several would wait for each other longer than they work."""
    return threadpool_limits(1 if rows < MIN_ROWS_FOR_THREADS else None)
