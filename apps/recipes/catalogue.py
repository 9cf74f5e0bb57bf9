"""Recipes as they lie on disk: a folder each, with data, settings and the page that people end on.

Those that come with Lepton are in ``recipes/``, a site's own in ``recipes/`` of its data folder; of two with the same
name the site's own counts. ``recipe.toml`` describes one; see docs/recipes.md.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from apps.core.errors import NotFound, Unprocessable
from apps.deployments.pages import check_page
from workers.domains import TASKS
from workers.training.field import HyperparameterError
from workers.training.hyperparameters import resolve

RECIPE_FILE = "recipe.toml"
TOLD = ("title", "about", "notice", "source")
EXAMPLE = re.compile(r"[a-z_]+\.(zip|csv|jsonl)")
TYPES = {"str": (str, "text"), "int": (int, "whole number"), "Mapping[str, Any]": (Mapping, "table")}
SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Recipe:
    """One recipe. `file` lies in its folder, or `example` (``digits.zip``) is made by
    workers.examples; `page` is how its demo looks."""

    slug: str
    folder: Path
    title: str
    about: str
    task: str
    data_name: str
    source: str
    name: str
    icon: str = "ti-sparkles"
    order: int = 100
    minutes: int = 1
    notice: str = ""
    file: str = ""
    example: str = ""
    target: str = ""
    preset: str = "fast"
    settings: Mapping[str, Any] = field(default_factory=dict)
    page: str = ""
    page_settings: Mapping[str, Any] = field(default_factory=dict)
    words: Mapping[str, Any] = field(default_factory=dict)  # language -> what is told of it in that language

    @property
    def told(self) -> dict[str, str]:
        """Title, about, notice and source in the reader's language, in the file's own where it has no other."""
        translated = self.words.get(get_language() or "", {})
        return {name: translated.get(name, getattr(self, name)) for name in TOLD}

    @property
    def all_page_settings(self) -> dict[str, Any]:
        """With the notice, which then stands on the demo page too."""
        return {**self.page_settings, **({"notice": self.notice} if self.notice else {})}


def all_recipes() -> tuple[list[Recipe], list[str]]:
    """Those that can be used, in the order in which they are shown, and what is wrong with the others."""
    found = {path.parent.name: path.parent for folder in folders() for path in sorted(folder.glob(f"*/{RECIPE_FILE}"))}
    recipes, broken = [], []
    for folder in found.values():
        try:
            recipes.append(read_recipe(folder))
        except Unprocessable as error:
            broken.append(error.message)
    return sorted(recipes, key=lambda recipe: (recipe.order, recipe.slug)), broken


def find_recipe(slug: str) -> Recipe:
    """Raises NotFound."""
    if SLUG.fullmatch(slug):
        for folder in reversed(folders()):
            if (folder / slug / RECIPE_FILE).is_file():
                return read_recipe(folder / slug)
    raise NotFound(_("There is no such recipe."))


def folders() -> tuple[Path, Path]:
    return settings.BASE_DIR / "recipes", Path(settings.LEPTON_HOME) / "recipes"


def read_recipe(folder: Path) -> Recipe:
    """Raises Unprocessable (invalid_recipe), which names the file and what is wrong in it."""
    path = folder / RECIPE_FILE
    try:
        with open(path, "rb") as file:
            recipe = _from_toml(folder, tomllib.load(file))
        _check(recipe)
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        told = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        message = _("The recipe %(name)s cannot be used: %(error)s.") % {"name": folder.name, "error": told}
        raise Unprocessable(message, code="invalid_recipe") from error
    return recipe


def _from_toml(folder: Path, raw: dict[str, Any]) -> Recipe:
    data, training, page = raw["data"], raw.get("training", {}), dict(raw.get("page", {}))
    about = raw["about"]
    return Recipe(
        slug=folder.name,
        folder=folder,
        title=raw["title"],
        about=about.strip() if isinstance(about, str) else about,
        task=raw["task"],
        icon=raw.get("icon", "ti-sparkles"),
        order=raw.get("order", 100),
        minutes=raw.get("minutes", 1),
        notice=raw.get("notice", ""),
        data_name=data["name"],
        source=data["source"],
        file=data.get("file", ""),
        example=data.get("example", ""),
        target=data.get("target", ""),
        name=training.get("name", folder.name),
        preset=training.get("preset", "fast"),
        settings=training.get("settings", {}),
        page=page.pop("kind", ""),
        page_settings=page,
        words={language: _stripped(words) for language, words in raw.get("words", {}).items()},
    )


def _stripped(words: Mapping[str, str]) -> dict[str, str]:
    """Raises ValueError for words that no page shows."""
    if unknown := [name for name in words if name not in TOLD]:
        raise ValueError(f"its words have no {unknown[0]!r}, but {', '.join(TOLD)}")
    return {name: text.strip() for name, text in words.items()}


def _lies_in(folder: Path, name: str) -> bool:
    """Also by a link none leads out of the folder: a team would get what else lies on the machine as its data."""
    path = folder / name
    return Path(name).name == name and path.is_file() and path.resolve().parent == folder.resolve()


def _check_types(recipe: Recipe) -> None:
    """Raises ValueError for a value that is of another type than its field."""
    for item in fields(recipe):
        kind, word = TYPES.get(item.type, (object, ""))
        value = getattr(recipe, item.name)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ValueError(f"its {item.name} is {value!r}, which is no {word}")


def _check(recipe: Recipe) -> None:
    """Raises ValueError."""
    _check_types(recipe)
    if not SLUG.fullmatch(recipe.slug):
        raise ValueError("its folder is not named in small letters, digits and single hyphens")
    if recipe.task not in TASKS:
        raise ValueError(f"there is no task {recipe.task!r}; the tasks are {', '.join(TASKS)}")
    if bool(recipe.file) == bool(recipe.example):
        raise ValueError("[data] names a file or an example, and not both")
    if recipe.example and not EXAMPLE.fullmatch(recipe.example):
        raise ValueError(f"{recipe.example!r} is no example; one is named like digits.zip")
    if recipe.file and not _lies_in(recipe.folder, recipe.file):
        raise ValueError(f"its folder has no file {recipe.file!r}")
    try:
        resolve(recipe.task, recipe.preset, recipe.settings)
        check_page(recipe.task, recipe.page, recipe.all_page_settings)
    except (HyperparameterError, Unprocessable) as error:
        raise ValueError(str(error.message).rstrip(".")) from error
