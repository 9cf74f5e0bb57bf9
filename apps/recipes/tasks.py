"""Control-plane tasks."""

from celery import shared_task

from apps.jobs.tasks import each
from apps.recipes.models import RecipeRun
from apps.recipes.services import advance


@shared_task
def advance_runs() -> None:
    """Take each run that has not ended a step further where it can be."""
    each(advance, RecipeRun.objects.exclude(stage__in=RecipeRun.ENDED))
