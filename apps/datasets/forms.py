"""Forms of data."""

import json

from django import forms
from django.utils.translation import gettext_lazy as _
from rest_framework.exceptions import ValidationError

from apps.datasets.names import MAX_DATASET_NAME_LENGTH
from apps.datasets.serializers import SourceInput


class UploadsField(forms.CharField):
    """The uploads that the page made, as JSON: [{"id", "split"}]. One field, as Django limits their number."""

    widget = forms.HiddenInput

    def clean(self, value: str | None) -> list[dict]:
        try:
            serializer = SourceInput(data=json.loads(value or "[]"), many=True)
            serializer.is_valid(raise_exception=True)
        except (ValueError, ValidationError) as error:
            raise forms.ValidationError(_("The list of files is damaged. Load the page again.")) from error
        return serializer.validated_data


class UploadsForm(forms.Form):
    """What a page with a drop zone sends."""

    uploads = UploadsField(required=False)


class VersionForm(UploadsForm):
    target = forms.CharField(
        label=_("Column to predict"),
        max_length=200,
        required=False,
        help_text=_("For tables. Leave it empty and Lepton proposes one; you can still change it when you train."),
    )


class DatasetForm(VersionForm):
    name = forms.CharField(
        label=_("Name"),
        max_length=MAX_DATASET_NAME_LENGTH,
        help_text=_("How your team finds it, for instance Chest X-rays."),
    )
    description = forms.CharField(
        label=_("Description"),
        required=False,
        max_length=10_000,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text=_("Where the data comes from and what is in it."),
    )
    field_order = ["uploads", "name", "target", "description"]
