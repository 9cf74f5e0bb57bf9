"""Celery messages are only a doorbell: sent after commit, best effort, and nothing is lost when one gets lost."""

import logging
from typing import Any

from celery import current_app
from django.db import transaction

logger = logging.getLogger(__name__)


def ring(task_name: str, *args: Any, queue: str = "control") -> None:
    """Send `task_name` once the present transaction has committed. What it would wake also polls."""
    transaction.on_commit(lambda: _send(task_name, args, queue))


def _send(task_name: str, args: tuple, queue: str) -> None:
    try:
        current_app.send_task(task_name, args=list(args), queue=queue, expires=60)
    except Exception as error:  # a broker that is down in any way must not fail the request: the tick catches up
        logger.warning("the doorbell %s did not ring: %s", task_name, error)
