"""The part of a launch form that says where and how work is to run. Left alone it is what most work needs."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from apps.accounts.models import Team, User
from apps.core.errors import Unprocessable
from apps.jobs.plan_words import AUTO, NAMES
from apps.resources.market import MOST_BID
from apps.resources.models import Allocation, Device, Pool, Share
from apps.resources.nodes import devices_in, largest_node, nodes_in_pool, pool_named
from apps.resources.refusals import MOST_CORES, MOST_GB, NOT_ALLOWED, may_prioritise
from apps.resources.scheduling import Priority
from apps.resources.wanted import PRIORITIES, Wanted, in_words, written

PREEMPTION_HELP = gettext_lazy(
    "Work that needs the devices more may send it back to the queue; it writes a checkpoint and goes on from there. "
    "Without, it waits for room that nobody else was guaranteed."
)


STRATEGY_HELP = gettext_lazy(
    "How several devices share the work. Automatic takes the fastest that trains the same way."
)


class WhereForm(forms.Form):
    """Fields for what there is a choice of: a pool where there are several, a kind where the pool has several, a number
    of devices where the program can use several and the pool has them, with a strategy where it can be spread, a bid
    where the pool is auctioned."""

    cpu = forms.FloatField(
        label=gettext_lazy("CPU cores"),
        min_value=0,
        max_value=MOST_CORES,
        widget=forms.NumberInput(attrs={"step": "any", "min": "0"}),
        help_text=gettext_lazy("Kept for it; it may use idle ones as well."),
    )
    memory = forms.FloatField(
        label=gettext_lazy("Memory in GB"),
        min_value=0,
        max_value=MOST_GB,
        widget=forms.NumberInput(attrs={"step": "any", "min": "0"}),
        help_text=gettext_lazy("Kept for it."),
    )
    priority = forms.ChoiceField(label=gettext_lazy("Priority"), error_messages={"invalid_choice": NOT_ALLOWED})
    preemptible = forms.BooleanField(label=gettext_lazy("May be preempted"), required=False, help_text=PREEMPTION_HELP)

    def __init__(
        self,
        *,
        team: Team,
        user: User,
        values: Mapping[str, str],
        usual: Wanted,
        most_devices: int,
        is_spreadable: bool = False,
    ) -> None:
        """`values` are what a person sent or a link proposes; what they leave out is as in `usual`."""
        pools = list(Pool.objects.order_by("name"))
        self.chosen_pool = next((pool for pool in pools if pool.name == values.get("pool")), usual.pool)
        self.usual = usual.changed({"pool": self.chosen_pool, "bid": self._proposed_bid(team)})
        names = [*self.base_fields, "pool", "devices", "device_kind", "bid", "strategy"]
        sent = {name: values[name] for name in names if name in values}
        super().__init__(data={**written(self.usual.choices), **sent})
        self.fields["priority"].choices = _priorities(team, user)
        self.is_spreadable = is_spreadable
        held = devices_in(self.chosen_pool) if is_spreadable else largest_node(self.chosen_pool)
        self._add_choices(pools, min(most_devices, held or 1))
        order = ["pool", "devices", "strategy", "device_kind", "priority", "bid", "cpu", "memory", "preemptible"]
        self.order_fields(order)

    def _proposed_bid(self, team: Team) -> float:
        """A little above the published price, so that submitting at once has a chance; never what the team has not."""
        self.price, self.credits = 0.0, 0.0
        if self.chosen_pool.policy != Pool.Policy.AUCTION:
            return 0.0
        published = self.chosen_pool.clearing_prices.first()
        self.price = published.price if published else 0.0
        share = Share.objects.filter(team=team, pool=self.chosen_pool).first()
        self.credits = share.credits if share else 0.0
        return float(f"{min(max(1.0, self.price * 1.1), self.credits):.3g}")

    def _add_choices(self, pools: list[Pool], most_devices: int) -> None:
        if len(pools) > 1:
            self.fields["pool"] = forms.ChoiceField(label=_("Pool"), choices=[(pool.name, pool.name) for pool in pools])
        if most_devices > 1:
            self.fields["devices"] = forms.IntegerField(
                label=_("Devices"),
                min_value=1,
                help_text=(_("The pool has %(n)d.") if self.is_spreadable else _("One machine has up to %(n)d."))
                % {"n": most_devices},
            )
        if most_devices > 1 and self.is_spreadable:
            self.fields["strategy"] = forms.ChoiceField(
                label=_("Strategy"), choices=list(NAMES.items()), required=False, help_text=STRATEGY_HELP
            )
        kinds = Device.objects.filter(node__in=nodes_in_pool().filter(pool=self.chosen_pool)).order_by("kind")
        kinds = list(kinds.values_list("kind", flat=True).distinct())
        if len(kinds) > 1:
            self.fields["device_kind"] = forms.ChoiceField(
                label=_("Kind of device"),
                required=False,
                choices=[("", _("Any kind")), *((kind, Device.Kind(kind).label) for kind in kinds)],
            )
        if self.chosen_pool.policy == Pool.Policy.AUCTION:
            self.fields["bid"] = forms.FloatField(
                label=_("Bid, credits for a device-hour"),
                min_value=0,
                max_value=MOST_BID,
                widget=forms.NumberInput(attrs={"step": "any", "min": "0"}),
                help_text=_("The price is %(price)g now; your team has %(credits)g credits. You never pay more.")
                % {"price": self.price, "credits": self.credits},
            )

    @property
    def wanted(self) -> Wanted:
        """What is asked for; a field that is wrong counts as left alone."""
        self.is_valid()
        return self.usual.changed({**self.cleaned_data, "pool": self.chosen_pool})

    @property
    def strategy(self) -> str:
        """How it is to be spread over devices, where that can be chosen."""
        self.is_valid()
        return self.cleaned_data.get("strategy") or AUTO

    @property
    def summary(self) -> str:
        """What is asked for, in a line."""
        chosen = self.wanted.choices
        parts = [in_words(name, chosen[name]) for name in ("cpu", "memory")]
        if chosen["device_kind"]:
            parts.insert(0, in_words("device_kind", chosen["device_kind"]))
        parts.append(_("%(priority)s priority") % {"priority": in_words("priority", chosen["priority"])})
        parts.append(_("may be preempted") if chosen["preemptible"] else _("not preempted"))
        if "bid" in self.fields:
            parts.append(_("bids %(bid)g") % {"bid": chosen["bid"]})
        return " · ".join(parts)

    @property
    def small_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in self.fields if name not in ("pool", "preemptible")]


def _priorities(team: Team, user: User) -> list[tuple[str, Any]]:
    most = Priority.HIGH if may_prioritise(team, user) else Priority.NORMAL
    return [(name, Allocation.Priority(value).label) for name, value in PRIORITIES.items() if value <= most]


class ChangeForm(forms.Form):
    """What a job that waits is to ask for instead; only what is sent counts."""

    pool = forms.CharField(max_length=60, required=False)
    devices = forms.IntegerField(min_value=0, required=False)
    device_kind = forms.ChoiceField(choices=[("", ""), *Device.Kind.choices], required=False)
    cpu = forms.FloatField(min_value=0, max_value=MOST_CORES, required=False)
    memory = forms.FloatField(min_value=0, max_value=MOST_GB, required=False)
    priority = forms.ChoiceField(choices=[(name, name) for name in PRIORITIES], required=False)
    preemptible = forms.ChoiceField(choices=[("true", ""), ("false", "")], required=False)
    bid = forms.FloatField(min_value=0, max_value=MOST_BID, required=False)


def read_changes(sent: Mapping[str, str], wanted: Wanted) -> Wanted:
    """`wanted` with what was sent instead. Raises Unprocessable (with `field`), and NotFound for a pool."""
    form = ChangeForm(sent)
    if not form.is_valid():
        field, errors = next(iter(form.errors.items()))
        raise Unprocessable(f"{field}: {errors[0]}", code="invalid_input", field=field)
    chosen = {name: form.cleaned_data[name] for name in form.fields if sent.get(name)}
    if "device_kind" in sent:
        chosen["device_kind"] = form.cleaned_data["device_kind"]
    if "pool" in chosen:
        chosen["pool"] = pool_named(chosen["pool"])
    if "preemptible" in chosen:
        chosen["preemptible"] = chosen["preemptible"] == "true"
    return wanted.changed(chosen)
