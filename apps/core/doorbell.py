"""Celery messages are only a doorbell: sent after commit, best effort, and nothing is lost when one gets lost."""

import contextlib
import logging
from typing import Any

from celery import current_app
from django.core.cache import cache
from django.db import transaction
from redis.exceptions import RedisError

UNANSWERED_SECONDS = 10

logger = logging.getLogger(__name__)


def ring(task_name: str, *args: Any, queue: str = "control") -> None:
    """Send `task_name` once the present transaction has committed. What it would wake also polls."""
    transaction.on_commit(lambda: _send(task_name, args, queue))


def ring_once(task_name: str) -> None:
    """The same for a task that does everything there is to do: while one message is on its way, another says no more.
    The task calls `answer` before it looks."""
    transaction.on_commit(lambda: _send(task_name, (), "control", is_single=True))


def answer(task_name: str) -> None:
    """From now on a message says something new."""
    with contextlib.suppress(RedisError):
        cache.delete(f"rung:{task_name}")


def _send(task_name: str, args: tuple, queue: str, is_single: bool = False) -> None:
    try:
        if is_single and not cache.add(f"rung:{task_name}", True, UNANSWERED_SECONDS):
            return
        current_app.send_task(task_name, args=list(args), queue=queue, expires=60)
    except Exception as error:  # a broker that is down in any way must not fail the request: the tick catches up
        logger.warning("the doorbell %s did not ring: %s", task_name, error)
