"""Control-plane tasks of the pool."""

from celery import shared_task

from apps.resources import simulator


@shared_task
def run_simulation(user_id: int, run_id: str) -> None:
    simulator.run_simulation(user_id=user_id, run_id=run_id)
