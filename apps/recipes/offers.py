"""The recipes as a team sees them: each with its task in words, and how far the team has come with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext_lazy as _

from apps.accounts.models import Team
from apps.recipes.catalogue import Recipe, all_recipes
from apps.recipes.models import RecipeRun
from apps.registry.figures import TASK_LABELS
from workers.domains import AUDIO, IMAGE, TASKS, TEXT

TABLES = _("Tables")
SHELVES = {IMAGE: _("Images"), AUDIO: _("Recordings"), TEXT: _("Texts")}  # by what a model is asked with


@dataclass(frozen=True)
class Offer:
    """One recipe; `run` is the team's newest of it, or None."""

    recipe: Recipe
    task: Any
    run: RecipeRun | None


def offers_to(team: Team) -> tuple[Sequence[Offer], Sequence[str]]:
    """All recipes in their order, and sentences about those that cannot be used."""
    newest = {run.recipe: run for run in RecipeRun.objects.filter(team=team).order_by("pk")}
    recipes, broken = all_recipes()
    return [Offer(recipe, TASK_LABELS[recipe.task], newest.get(recipe.slug)) for recipe in recipes], broken


def on_shelves(offers: Sequence[Offer]) -> list[tuple[Any, list[Offer]]]:
    """The offers under what their data are, (title, offers) each; whatever else a model is asked with comes in tables.
    Both keep the order of the offers."""
    shelves: dict[Any, list[Offer]] = {}
    for offer in offers:
        shelves.setdefault(SHELVES.get(TASKS[offer.recipe.task].asks, TABLES), []).append(offer)
    return list(shelves.items())
