"""The recipes as a team sees them: each with its task in words, and how far the team has come with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from apps.accounts.models import Team
from apps.recipes.catalogue import Recipe, all_recipes
from apps.recipes.models import RecipeRun
from apps.registry.figures import TASK_LABELS


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
