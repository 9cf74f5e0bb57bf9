"""The fields of the launch form that say what a training starts from."""

from collections.abc import Sequence

from django import forms
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext as _

from apps.jobs.starts.folders import Listed


def start_fields(starts: Sequence[Listed]) -> dict[str, forms.Field]:
    """Folders of the site in one field, and the name of a hub's checkpoint in another, which counts where it is
    given."""
    usable = [(item.name, start_words(item)) for item in starts if item.facts]
    return {
        "start_from": forms.CharField(
            label=_("Start from"),
            required=False,
            widget=forms.Select(choices=[("", _("Nothing, this data alone")), *usable]),
            help_text=_(
                "A pretrained model has learned from millions of others already, and needs far fewer examples of yours."
            ),
        ),
        "start_hub": forms.CharField(
            label=_("Or a checkpoint of the hub"),
            required=False,
            max_length=200,
            widget=forms.TextInput(attrs={"placeholder": "owner/name", "autocapitalize": "off", "spellcheck": "false"}),
            help_text=_("Such as distilbert/distilbert-base-uncased; @revision behind it takes a certain one."),
        ),
    }


def start_words(item: Listed) -> str:
    """A folder in a line: what it is, how large, and under which licence."""
    facts = item.facts
    size = filesizeformat(facts.weight_bytes)
    return " · ".join(part for part in (f"{item.name}: {facts.label}", size, facts.license) if part)
