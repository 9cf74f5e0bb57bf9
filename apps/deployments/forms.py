"""Forms of deployments, and the form that a table's columns make."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.accounts.limits import MAX_PER_MINUTE
from apps.deployments.admission import read_networks
from apps.deployments.checks import NAME_LENGTH
from apps.deployments.models import Deployment
from apps.deployments.scaling_forms import SCALING_FIELDS, ScalingForm
from apps.deployments.traffic import MAX_REPLICAS
from apps.registry.models import ModelVersion
from workers.tables.cells import FALSE_WORDS, TRUE_WORDS

MAX_CHOICES = 200
NONE_IS_ZERO = ("requests_per_minute", "max_replicas", "target_latency_ms", "replica_cpu", "replica_memory")
LIMITS = ("min_answers", "max_error_points", "max_latency_factor")


class DeployForm(forms.Form):
    """Which version to serve, and under which name."""

    version = forms.ModelChoiceField(ModelVersion.objects.none(), label=_("Model version"), empty_label=None)
    name = forms.CharField(
        label=_("Name"),
        max_length=NAME_LENGTH,
        required=False,
        help_text=_("Part of the address. Left empty, it gets the model's name."),
    )
    is_public = forms.BooleanField(
        label=_("Make the demo public"),
        required=False,
        help_text=_("Anyone with the link can try it, without signing in. You can change this later."),
    )

    def __init__(self, *args: Any, versions: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["version"].queryset = versions


class NetworksField(forms.CharField):
    """A list of networks; None where the field was not sent at all, so that what stands there stays."""

    def clean(self, value: str | None) -> list[str] | None:
        return None if value is None else read_networks(value)

    def prepare_value(self, value: Any) -> str:
        return "\n".join(value) if isinstance(value, list) else value


class ChangeForm(ScalingForm):
    """A change of one thing; what is not sent stays as it is."""

    version = forms.ModelChoiceField(ModelVersion.objects.none(), required=False, label=_("Version"), empty_label=None)
    wanted_replicas = forms.IntegerField(
        required=False, label=_("Replicas"), help_text=_("Each answers in a process for every core of its machine."),
        widget=forms.NumberInput(attrs={"min": 0, "max": MAX_REPLICAS}),
    )  # fmt: skip
    min_answers = forms.IntegerField(
        required=False, min_value=1, max_value=1_000_000, label=_("Judge after so many answers")
    )
    max_error_points = forms.FloatField(
        required=False, min_value=0, max_value=100, label=_("Most additional server errors"),
        help_text=_("In percentage points above the stable version's."),
        widget=forms.NumberInput(attrs={"step": "any"}),
    )  # fmt: skip
    max_latency_factor = forms.FloatField(
        required=False, min_value=1, max_value=1000, label=_("Most times as slow"),
        help_text=_("99th percentile against the stable version's; under 50 ms nothing is slow."),
        widget=forms.NumberInput(attrs={"step": "any"}),
    )  # fmt: skip
    requests_per_minute = forms.IntegerField(
        required=False, min_value=0, max_value=MAX_PER_MINUTE, label=_("Predictions a minute for each key"),
        help_text=_("0 for no limit. A key can have a limit of its own as well."),
    )  # fmt: skip
    allowed_networks = NetworksField(
        required=False, label=_("Allowed networks"),
        widget=forms.Textarea(attrs={"rows": 3, "placeholder": "10.1.0.0/16"}),
        help_text=_("One address or network a line, such as 10.1.0.0/16. Left empty, it answers everywhere."),
    )  # fmt: skip
    is_public = forms.TypedChoiceField(
        required=False,
        choices=[("yes", "yes"), ("no", "no")],
        coerce=lambda value: value == "yes",
        empty_value=None,
    )

    def __init__(self, *args: Any, deployment: Deployment, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        versions = deployment.version.model.versions.select_related("model")
        self.fields["version"].queryset = versions
        kept = ("wanted_replicas", "allowed_networks", *LIMITS, *SCALING_FIELDS)
        self.initial = {name: getattr(deployment, name) for name in kept}
        self.initial |= {name: getattr(deployment, name) or 0 for name in NONE_IS_ZERO}
        self.initial["version"] = deployment.version_id

    def show_as_sent(self) -> None:
        """What was sent beside what was not, for the page that says what was wrong with it."""
        self.data = self.initial | self.data.dict()


class LoadTestForm(forms.Form):
    """A load test, bounded."""

    seconds = forms.IntegerField(label=_("Seconds"), min_value=1, max_value=60, initial=10)
    clients = forms.IntegerField(label=_("Clients at once"), min_value=1, max_value=32, initial=4)


class RequestLogForm(forms.Form):
    """What is written down of the requests."""

    percent = forms.FloatField(
        label=_("Percent of the requests"),
        min_value=0,
        max_value=100,
        help_text=_("0 writes nothing down."),
        widget=forms.NumberInput(attrs={"step": "any"}),
    )
    days = forms.IntegerField(label=_("Days kept"), min_value=1, max_value=365)
    has_inputs = forms.BooleanField(
        label=_("Keep what was sent"),
        required=False,
        help_text=_("Up to 64 kB each. It may be personal: tell those who ask."),
    )


class TryForm(forms.Form):
    """A version of the same model, and how much of the traffic it gets."""

    version = forms.ModelChoiceField(ModelVersion.objects.none(), label=_("Version"), empty_label=None)
    weight = forms.IntegerField(
        label=_("Traffic, in percent"), initial=10, min_value=1, max_value=99,
        widget=forms.NumberInput(attrs={"inputmode": "numeric"}),
    )  # fmt: skip
    replicas = forms.IntegerField(label=_("Replicas"), initial=1, min_value=1, max_value=MAX_REPLICAS)

    def __init__(self, *args: Any, deployment: Deployment, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        versions = deployment.version.model.versions.select_related("model").exclude(pk=deployment.version_id)
        self.fields["version"].queryset = versions.order_by("-number")


class RowForm(forms.Form):
    """One field per column of a model's input. `row()` is what a replica is asked."""

    def __init__(self, *args: Any, columns: list[dict[str, Any]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._names = {f"column_{number}": column["name"] for number, column in enumerate(columns)}
        for (key, _name), column in zip(self._names.items(), columns, strict=True):
            self.fields[key] = _field_for(column)

    @staticmethod
    def example(columns: list[dict[str, Any]], row: dict[str, Any] | None = None) -> dict[str, Any]:
        """Initial values: those of `row`, else each column's default."""
        return {
            f"column_{number}": _shown((row or {}).get(column["name"], column.get("default")), column)
            for number, column in enumerate(columns)
        }

    def row(self) -> dict[str, Any]:
        """Column -> value; what was left empty is unknown."""
        return {name: _value(self.cleaned_data[key]) for key, name in self._names.items()}


def _field_for(column: dict[str, Any]) -> forms.Field:
    common = {"label": column["name"], "required": False}
    match column["type"]:
        case "boolean":
            return forms.ChoiceField(**common, choices=[("", "–"), ("true", _("Yes")), ("false", _("No"))])
        case "categorical":
            choices = [str(choice) for choice in column["choices"][:MAX_CHOICES]]
            return forms.ChoiceField(**common, choices=[("", "–"), *((choice, choice) for choice in choices)])
        case "numeric":
            help_text = _("From %(min)s to %(max)s in the training data.") % {
                "min": plain_number(column["min"]),
                "max": plain_number(column["max"]),
            }
            return forms.FloatField(**common, help_text=help_text, widget=forms.NumberInput(attrs={"step": "any"}))
        case _:
            return forms.CharField(**common, max_length=1000)


def _shown(value: Any, column: dict[str, Any]) -> Any:
    """As the field's widget writes it."""
    if value is None:
        return ""
    if column["type"] == "boolean":
        word = str(value).strip().casefold()
        return "true" if word in TRUE_WORDS else "false" if word in FALSE_WORDS else ""
    if column["type"] == "numeric":
        return plain_number(value)
    return str(value)


def plain_number(value: Any) -> str:
    """Without a needless fraction: 37.0 -> "37", and four decimals at most."""
    try:
        return f"{float(value):.4f}".rstrip("0").rstrip(".")
    except (TypeError, ValueError):
        return str(value)


def _value(value: Any) -> Any:
    return None if value == "" else {"true": True, "false": False}.get(value, value)
