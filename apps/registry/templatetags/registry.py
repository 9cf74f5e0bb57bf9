"""Words for what stands in a registry."""

from django import template
from django.utils.translation import gettext as _

from apps.registry.figures import FILE_PURPOSES, TASK_LABELS
from workers.compression.recipes import SETTINGS
from workers.training.fields import FIELDS

register = template.Library()


@register.filter
def task_label(task: str) -> str:
    """ "tabular_regression" -> "Table regression"."""
    return str(TASK_LABELS.get(task, task.replace("_", " ").capitalize()))


@register.filter
def setting_label(name: str, task: str = "") -> str:
    """ "learning_rate" -> "Learning rate", as the form of the task calls it; what stands in no form by its name in
    words."""
    known = (*SETTINGS, *(field for field in FIELDS if not task or task in field.tasks))
    labels = {field.name: field.label for field in known}
    return _(labels.get(name, name.replace("_", " ").capitalize()))


@register.filter
def file_purpose(name: str) -> str:
    return str(FILE_PURPOSES.get(name, ""))
