"""The fields by which a deployment scales."""

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.deployments.checks import MAX_IDLE_MINUTES, MAX_LATENCY_MS
from apps.deployments.connections import MAX_IN_FLIGHT
from apps.deployments.traffic import MAX_REPLICAS


class ScalingForm(forms.Form):
    """What is not sent stays as it is."""

    max_replicas = forms.IntegerField(
        required=False, min_value=0, max_value=MAX_REPLICAS, label=_("At most"),
        help_text=_("0: their number does not change by itself."),
    )  # fmt: skip
    min_replicas = forms.IntegerField(
        required=False, min_value=0, max_value=MAX_REPLICAS, label=_("At least"),
        help_text=_("0: it sleeps when nobody asks."),
    )  # fmt: skip
    target_in_flight = forms.FloatField(
        required=False, min_value=0.1, max_value=MAX_IN_FLIGHT, label=_("Requests each"),
        help_text=_("At once, for one replica."),
        widget=forms.NumberInput(attrs={"step": "any"}),
    )  # fmt: skip
    target_latency_ms = forms.IntegerField(
        required=False, min_value=0, max_value=MAX_LATENCY_MS, label=_("p95 at most, in ms"),
        help_text=_("0: any."),
    )  # fmt: skip
    replica_cpu = forms.FloatField(
        required=False, min_value=0, label=_("CPU cores set aside for each"),
        help_text=_("0: what is usual, and more of what is idle. A number is also the most that it uses."),
        widget=forms.NumberInput(attrs={"step": "any"}),
    )  # fmt: skip
    replica_memory = forms.FloatField(
        required=False, min_value=0, label=_("Memory set aside for each, in GB"),
        help_text=_("0: what is usual for a model of its size."),
        widget=forms.NumberInput(attrs={"step": "any"}),
    )  # fmt: skip
    idle_minutes = forms.IntegerField(
        required=False, min_value=1, max_value=MAX_IDLE_MINUTES,
        label=_("Asleep after so many minutes without a request"),
    )  # fmt: skip


SCALING_FIELDS = tuple(ScalingForm.base_fields)
