"""Control-plane tasks."""

from celery import shared_task

from apps.datasets import services


@shared_task
def sweep_uploads() -> None:
    services.sweep_uploads()
