"""What a word finds: the team's data, jobs, models and deployments, examples, machines, and pages of the manual."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Q
from django.urls import reverse
from django.utils.translation import gettext as _

from apps.accounts.models import Team
from apps.core.manual import search_manual
from apps.datasets.models import Dataset
from apps.deployments.models import Deployment
from apps.jobs.models import Job
from apps.recipes.catalogue import all_recipes
from apps.registry.figures import TASK_LABELS
from apps.registry.models import RegisteredModel
from apps.resources.models import Node

MOST = 5  # of each kind
LONGEST = 100  # of what is searched for, in characters
MOST_DIGITS = 18  # of a number


@dataclass(frozen=True)
class Hit:
    """One thing that was found; `note` says what it is beside others of its name."""

    title: str
    note: str
    url: str


@dataclass(frozen=True)
class Group:
    """What was found of one kind. `icon` is a class of Tabler Icons."""

    title: str
    icon: str
    hits: Sequence[Hit]


def search(team: Team, text: str) -> list[Group]:
    """Everything that has all words of `text` in its name, in groups, the newest first in each; a number, with or
    without a hash, finds the job. Nothing for an empty text."""
    words = text[:LONGEST].split()
    if not words:
        return []
    groups = [Group(title, icon, find(team, words)) for title, icon, find in _kinds()]
    return [group for group in groups if group.hits]


def _kinds() -> list[tuple[str, str, Callable[[Team, list[str]], list[Hit]]]]:
    return [
        (_("Data"), "ti-database", _datasets),
        (_("Jobs"), "ti-activity", _jobs),
        (_("Models"), "ti-box", _models),
        (_("Deployments"), "ti-rocket", _deployments),
        (_("Machines"), "ti-server-2", _nodes),
        (_("Examples"), "ti-sparkles", _recipes),
        (_("Manual"), "ti-book", _pages),
    ]


def _named(words: Sequence[str], field: str = "name") -> Q:
    found = Q()
    for word in words:
        found &= Q(**{f"{field}__icontains": word})
    return found


def _datasets(team: Team, words: list[str]) -> list[Hit]:
    rows = Dataset.objects.filter(_named(words), team=team).order_by("-pk")[:MOST]
    return [Hit(row.name, "", reverse("datasets:detail", args=[row.pk])) for row in rows]


def _jobs(team: Team, words: list[str]) -> list[Hit]:
    number = words[0].removeprefix("#")
    wanted = _named(words)
    if len(words) == 1 and number.isdecimal() and len(number) <= MOST_DIGITS:
        wanted |= Q(pk=int(number))
    rows = Job.objects.filter(wanted, team=team).order_by("-pk")[:MOST]
    return [Hit(str(row), str(row.get_status_display()), reverse("jobs:detail", args=[row.pk])) for row in rows]


def _models(team: Team, words: list[str]) -> list[Hit]:
    rows = RegisteredModel.objects.filter(_named(words), team=team).order_by("-pk")[:MOST]
    return [Hit(row.name, str(TASK_LABELS[row.task]), reverse("registry:detail", args=[row.pk])) for row in rows]


def _deployments(team: Team, words: list[str]) -> list[Hit]:
    rows = Deployment.objects.filter(_named(words), team=team).select_related("version__model").order_by("-pk")[:MOST]
    return [Hit(row.name, str(row.version), reverse("deployments:detail", args=[row.pk])) for row in rows]


def _nodes(team: Team, words: list[str]) -> list[Hit]:
    """The pool is everybody's."""
    rows = Node.objects.filter(_named(words)).order_by("name")[:MOST]
    return [Hit(row.name, "", reverse("resources:node", args=[row.name])) for row in rows]


def _recipes(team: Team, words: list[str]) -> list[Hit]:
    recipes, _broken = all_recipes()
    found = [
        recipe for recipe in recipes if _has(words, f"{recipe.title} {recipe.told['title']} {TASK_LABELS[recipe.task]}")
    ]
    return [
        Hit(recipe.told["title"], str(TASK_LABELS[recipe.task]), reverse("recipes:detail", args=[recipe.slug]))
        for recipe in found[:MOST]
    ]


def _pages(team: Team, words: list[str]) -> list[Hit]:
    found: list[Any] = search_manual(words, MOST)
    return [
        Hit(section.title or page.title, page.title if section.title else "", f"{page.url}#{section.anchor}")
        for page, section in found
    ]


def _has(words: Sequence[str], text: str) -> bool:
    return all(word.casefold() in text.casefold() for word in words)
