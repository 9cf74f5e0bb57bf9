"""Forms about what teams were promised, how a pool is shared, what is bid, and who joins."""

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from apps.resources.joining import NAME_LENGTH
from apps.resources.models import Pool, Quota
from apps.resources.quotas import PERSONAL
from apps.resources.scheduling import POLICIES
from apps.resources.simulation import MOST_DAYS, MOST_EXTRA_NODES
from apps.resources.units import UnitError, read_amount

R = Quota.Resource
UNIT_WORDS = {
    R.CPU: gettext_lazy("cores"),
    R.MEMORY: gettext_lazy("GB"),
    R.STORAGE: gettext_lazy("GB"),
    R.EGRESS: gettext_lazy("GB"),
    R.DEVICE_TIME: gettext_lazy("hours"),
}


class AmountField(forms.CharField):
    """An amount of a resource; empty is None."""

    def __init__(self, resource: str, **options) -> None:
        super().__init__(required=False, max_length=40, **options)
        self.resource = resource
        self.widget.attrs |= {"inputmode": "decimal", "autocomplete": "off"}

    def clean(self, value: str) -> int | None:
        text = super().clean(value)
        try:
            return read_amount(self.resource, text)
        except UnitError as error:
            raise ValidationError(self._sentence(error), code=error.code) from error

    def _sentence(self, error: UnitError) -> str:
        if error.code == "unknown_unit":
            return _("Write one of these units: %(units)s.") % {"units": ", ".join(unit for unit in error.known)}
        if error.code == "not_whole":
            return _("Give a whole number.")
        if error.code == "too_large":
            return _("That is too much. Leave the field empty for no limit.")
        return _("Give a number such as 4 or 1.5, or leave it empty.")


class QuotaForm(forms.Form):
    """One resource of one team, in cores, GB or hours; it has the fields that the resource knows."""

    def __init__(self, *args, resource: str, **options) -> None:
        super().__init__(*args, **options)
        self.unit = UNIT_WORDS.get(resource, "")
        if resource in Quota.GUARANTEED:
            self._add("guaranteed", resource, _("Guaranteed"), "0")
        self._add("limit", resource, _("Limit"), "∞")
        if resource in PERSONAL:
            self._add("user_limit", resource, _("A person"), "∞")

    def _add(self, name: str, resource: str, label: str, placeholder: str) -> None:
        words = f"{label} ({self.unit})" if self.unit else label
        self.fields[name] = AmountField(resource, label=words)
        self.fields[name].widget.attrs["placeholder"] = placeholder

    def values(self) -> dict[str, int | None]:
        """What set_quota takes: nothing guaranteed is 0."""
        return {**self.cleaned_data, "guaranteed": self.cleaned_data.get("guaranteed") or 0}


class WeightForm(forms.Form):
    weight = forms.FloatField(label=gettext_lazy("Weight"), min_value=0, max_value=1000)
    unit = ""


class PolicyForm(forms.Form):
    policy = forms.ChoiceField(choices=Pool.Policy.choices)
    is_preemptive = forms.BooleanField(
        label=gettext_lazy("Ask running work to make room"),
        required=False,
        help_text=gettext_lazy(
            "Work that allows it writes a checkpoint, goes back to the queue and goes on later. Guarantees are kept "
            "at once; without this, only when something ends."
        ),
    )
    min_runtime_minutes = forms.IntegerField(
        label=gettext_lazy("Left in peace for (minutes)"),
        min_value=0,
        max_value=10_080,
        help_text=gettext_lazy("What was started runs at least this long before it may be asked to leave."),
    )
    starvation_hours = forms.IntegerField(
        label=gettext_lazy("Waits at most (hours)"),
        min_value=1,
        max_value=8_760,
        help_text=gettext_lazy("What has waited longer goes to the front, whatever the policy says."),
    )
    credits_per_period = forms.IntegerField(
        label=gettext_lazy("Credits handed out each period"),
        min_value=1,
        max_value=1_000_000_000,
        help_text=gettext_lazy("Split over all teams in proportion to their weights."),
    )
    credit_period_hours = forms.IntegerField(
        label=gettext_lazy("A period is (hours)"),
        min_value=1,
        max_value=8_760,
        help_text=gettext_lazy("168 hours are a week. What a team saves is at most one period's income."),
    )

    @staticmethod
    def values_of(pool: Pool) -> dict:
        return {
            "policy": pool.policy,
            "is_preemptive": pool.is_preemptive,
            "min_runtime_minutes": pool.min_runtime_seconds // 60,
            "starvation_hours": max(1, pool.starvation_seconds // 3600),
            "credits_per_period": pool.credits_per_period,
            "credit_period_hours": pool.credit_period_hours,
        }

    def values(self) -> dict:
        """What set_policy takes."""
        known = dict(self.cleaned_data)
        known["min_runtime_seconds"] = known.pop("min_runtime_minutes") * 60
        known["starvation_seconds"] = known.pop("starvation_hours") * 3600
        return known


class SimulationForm(forms.Form):
    days = forms.IntegerField(label=gettext_lazy("Days of the past"), min_value=1, max_value=MOST_DAYS, initial=14)
    policy = forms.ChoiceField(
        label=gettext_lazy("Policy"), choices=[(name, Pool.Policy(name).label) for name in POLICIES]
    )
    is_preemptive = forms.BooleanField(
        label=gettext_lazy("Ask running work to make room"), required=False, initial=True
    )
    extra_nodes = forms.IntegerField(
        label=gettext_lazy("More machines"),
        min_value=0,
        max_value=MOST_EXTRA_NODES,
        initial=0,
        help_text=gettext_lazy("Each like the largest one of the pool."),
    )


class PoolNameForm(forms.Form):
    name = forms.CharField(label=gettext_lazy("Name"), max_length=60)


class BidForm(forms.Form):
    bid = forms.FloatField(label=gettext_lazy("Credits for a device-hour"), min_value=0, max_value=1_000_000_000)


class AddNodeForm(forms.Form):
    """A machine that is to join; the pool is asked for only where there are several."""

    name = forms.CharField(
        label=gettext_lazy("Name of the machine"),
        max_length=NAME_LENGTH,
        help_text=gettext_lazy(
            "Small letters, digits and hyphens, such as gpu-2. It stands on every page that names the machine."
        ),
    )
    pool = forms.ModelChoiceField(
        Pool.objects.order_by("name"),
        label=gettext_lazy("Pool"),
        required=False,
        empty_label=None,
        to_field_name="name",
    )

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if Pool.objects.count() < 2:
            del self.fields["pool"]
