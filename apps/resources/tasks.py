"""Control-plane tasks of the pool. Each may run twice, late, or never: the next one catches up."""

from celery import shared_task
from django.utils import timezone

from apps.resources import simulator
from apps.resources.budgets import note_budgets
from apps.resources.storage_use import measure_storage as measure


@shared_task
def measure_storage() -> None:
    """Four times an hour: how much every team keeps, and for how long it has."""
    measure(now=timezone.now())


@shared_task
def watch_budgets() -> None:
    """Once a minute: note budgets that are nearly or wholly spent."""
    note_budgets(now=timezone.now())


@shared_task
def run_simulation(user_id: int, run_id: str) -> None:
    """A replay that takes longer than a page may."""
    simulator.run_simulation(user_id=user_id, run_id=run_id)
