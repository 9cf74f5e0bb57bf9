"""A setting of a training as a field of a form, and what a person wrote as its value."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from workers.training.field import Field

PLAIN_INPUT = {"autocapitalize": "off", "spellcheck": "false"}
NO_YES = (("false", gettext_lazy("No")), ("true", gettext_lazy("Yes")))


def shown(value: Any) -> str:
    """A value as the form writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def form_field(field: Field, columns: Sequence[tuple[str, str]] = ()) -> forms.Field:
    """The HTML side of a hyper-parameter; `Field.check` judges the value."""
    label = format_html('<span title="{}">{}</span>', field.name, _(field.label))
    if field.type == "column":
        widget = forms.Select(choices=list(columns))
        return forms.CharField(label=label, help_text=_(field.help), widget=widget, required=False)
    if field.type in ("text", "language"):
        widget = forms.Select(choices=list(columns)) if columns else forms.TextInput(attrs=PLAIN_INPUT)
        return forms.CharField(label=label, help_text=_(field.help), widget=widget, required=False)
    if field.type == "columns":
        return forms.CharField(label=label, help_text=_(field.help), required=False)
    if field.type in ("choice", "bool"):
        choices = NO_YES if field.type == "bool" else [(choice, choice) for choice in field.choices]
        return forms.CharField(label=label, help_text=_(field.help), widget=forms.Select(choices=choices))
    step = "1" if field.type == "int" else "any"
    limits = {"min": shown(field.minimum), "max": shown(field.maximum), "step": step}
    widget = forms.NumberInput(attrs=limits)
    return forms.CharField(label=label, help_text=_(field.help), widget=widget)


def language_choices(codes: Sequence[str]) -> list[tuple[str, str]]:
    """None where the codes of a checkpoint are not known."""
    return [("", str(_("None chosen"))), *((code, code) for code in codes)] if codes else []


def typed(field: Field, text: str) -> Any:
    """The value a person meant; text that is no number goes on as it is, and the check says what was expected."""
    if field.type == "bool":
        return {"true": True, "false": False}.get(text, text)
    if field.type in ("choice", "column", "columns", "checkpoint", "text", "language"):
        return text
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if field.type == "int" and number.is_integer() else number


def one_of(value: str | None, known: Any, otherwise: str) -> str:
    return value if value in known else otherwise
