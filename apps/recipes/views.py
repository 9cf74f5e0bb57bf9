"""Pages: the recipes, one recipe, and a run of it that moves by itself."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from apps.accounts.access import require_write
from apps.core.errors import DomainError
from apps.core.htmx import render_live
from apps.deployments.services import demo_path
from apps.recipes import services
from apps.recipes.catalogue import find_recipe
from apps.recipes.models import RecipeRun
from apps.recipes.offers import offers_to, on_shelves
from apps.registry.figures import TASK_LABELS

S = RecipeRun.Stage
STEPS = (S.CHECKING, S.TRAINING, S.DEPLOYING)


@require_GET
def index(request: HttpRequest) -> HttpResponse:
    offers, broken = offers_to(request.team)
    return render(request, "recipes/list.html", {"shelves": on_shelves(offers), "broken": broken})


@require_GET
def detail(request: HttpRequest, slug: str) -> HttpResponse:
    """The recipe, with how far its newest run of the team is."""
    recipe = find_recipe(slug)
    runs = RecipeRun.objects.filter(team=request.team, recipe=slug)
    run = runs.select_related("dataset_version__dataset", "job", "deployment__team", "deployment__version").first()
    context = {
        "recipe": recipe,
        "task": TASK_LABELS[recipe.task],
        "run": run,
        "steps": _steps(run) if run else [],
        "demo_url": demo_path(run.deployment) if run and run.deployment and run.stage == S.DONE else "",
    }
    return render_live(
        request,
        "recipes/detail.html",
        context,
        partials={"run": "recipes/_run.html"},
        is_live=bool(run and not run.is_ended),
    )


def _steps(run: RecipeRun) -> list[dict]:
    """{"title", "state", "url", "job"} of each step; `state` is done, now, later or failed."""
    reached = STEPS.index(run.stage) if run.stage in STEPS else _made(run)
    ended = {S.DONE: "done", S.FAILED: "failed"}.get(run.stage, "now")
    urls = {
        S.CHECKING: run.dataset_version and reverse("datasets:detail", args=[run.dataset_version.dataset_id]),
        S.TRAINING: run.job and reverse("jobs:detail", args=[run.job.pk]),
        S.DEPLOYING: run.deployment and reverse("deployments:detail", args=[run.deployment.pk]),
    }
    return [
        {
            "title": step.label,
            "state": "done" if number < reached else ended if number == reached else "later",
            "url": urls[step] or "",
            "job": run.job if step == S.TRAINING else None,
        }
        for number, step in enumerate(STEPS)
    ]


def _made(run: RecipeRun) -> int:
    """The place of the last step that a run which has ended has come to."""
    return 2 if run.deployment or run.stage == S.DONE else 1 if run.job else 0


@require_POST
def start(request: HttpRequest, slug: str) -> HttpResponse:
    require_write(request)
    try:
        services.start_recipe(team=request.team, user=request.user, recipe=find_recipe(slug))
    except DomainError as error:
        messages.error(request, error.message)
    return redirect("recipes:detail", slug)


@require_POST
def use_data(request: HttpRequest, slug: str) -> HttpResponse:
    """The data alone, to do the rest by hand."""
    require_write(request)
    version = services.create_data(team=request.team, user=request.user, recipe=find_recipe(slug))
    return redirect("datasets:detail", version.dataset_id)
