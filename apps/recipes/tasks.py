"""Control-plane tasks."""

from celery import shared_task

from apps.recipes import services


@shared_task
def advance_runs() -> None:
    services.advance_runs()
