"""Words for what stands in a registry."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from django import template
from django.utils.translation import gettext as _

from apps.registry.figures import FILE_PURPOSES, TASK_LABELS
from workers.compression.recipes import SETTINGS
from workers.training.fields import FIELDS
from workers.training.presets import PRESETS

register = template.Library()


@register.filter
def task_label(task: str) -> str:
    """ "tabular_regression" -> "Table regression"."""
    return str(TASK_LABELS.get(task, task.replace("_", " ").capitalize()))


@register.filter
def preset_label(name: str) -> str:
    """ "fast" -> "Fast", as the form calls it."""
    return _(PRESETS[name].label) if name in PRESETS else name


@register.filter
def setting_label(name: str, task: str = "") -> str:
    """ "learning_rate" -> "Learning rate", as the form of the task calls it; what stands in no form by its name in
    words."""
    return _(_untranslated_label(name, task))


def _untranslated_label(name: str, task: str) -> str:
    return _labels(task).get(name, name.replace("_", " ").capitalize())


@cache
def _labels(task: str) -> Mapping[str, str]:
    known = (*SETTINGS, *(field for field in FIELDS if not task or task in field.tasks))
    return {field.name: field.label for field in known}


@register.filter
def shown_settings(hyperparameters: Mapping[str, Any], task: str) -> list[tuple[str, str, str]]:
    """(name, label, value) in the order of the English labels, of what counts: without what only a checkpoint would
    have used, where training started from none, and recipes, which stand apart."""
    start = hyperparameters.get("start_from", "")
    idle = {field.name for field in FIELDS if task in field.tasks and not field.is_for(start)}
    idle |= {"recipes", *([] if start else ["start_from"])}
    shown = [
        (name, setting_label(name, task), "–" if value in ("", "-", None) else str(value))
        for name, value in hyperparameters.items()
        if name not in idle
    ]
    return sorted(shown, key=lambda item: _untranslated_label(item[0], task).casefold())


@register.filter
def file_purpose(name: str) -> str:
    if name.startswith("example-"):
        return _("an example from the test data, for the demo page")
    return str(FILE_PURPOSES.get(name, ""))
