"""The forms of the pool's pages."""

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.resources.joining import NAME_LENGTH
from apps.resources.models import Pool


class AddNodeForm(forms.Form):
    """The pool is asked for only where there are several."""

    name = forms.CharField(
        label=_("Name of the machine"),
        max_length=NAME_LENGTH,
        help_text=_(
            "Small letters, digits and hyphens, such as gpu-2. It stands on every page that names the machine."
        ),
    )
    pool = forms.ModelChoiceField(
        Pool.objects.order_by("name"), label=_("Pool"), required=False, empty_label=None, to_field_name="name"
    )

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if Pool.objects.count() < 2:
            del self.fields["pool"]
