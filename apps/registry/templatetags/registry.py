"""Words for what stands in a registry."""

from django import template

from apps.registry.figures import FILE_PURPOSES, TASK_LABELS

register = template.Library()


@register.filter
def task_label(task: str) -> str:
    """ "tabular_regression" -> "Table regression"."""
    return str(TASK_LABELS.get(task, task.replace("_", " ").capitalize()))


@register.filter
def file_purpose(name: str) -> str:
    return str(FILE_PURPOSES.get(name, ""))
