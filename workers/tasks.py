"""The Celery tasks of a node. They only wake its agent: the database says what there is to do."""

from celery import shared_task

from workers import agent


@shared_task
def start_work() -> None:
    """Something was granted to this node."""
    agent.wake()
