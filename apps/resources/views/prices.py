"""For administrators: what things cost, and what each team may spend in a month."""

from collections.abc import Sequence
from decimal import Decimal

from django import forms
from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods

from apps.accounts.access import require_administrator
from apps.accounts.models import Team
from apps.resources.accounting import cost_this_month
from apps.resources.budgets import MOST, BudgetState, set_budget
from apps.resources.models import Budget, Device, Price
from apps.resources.prices import MAX_AMOUNT, current_prices, set_price

ITEM = Price.Item
UNITS = {
    ITEM.STORAGE: gettext_lazy("a GB kept for a month"),
    ITEM.EGRESS: gettext_lazy("a GB sent"),
}
AN_HOUR = gettext_lazy("a device-hour")


class AmountField(forms.DecimalField):
    """An amount of money; a comma is taken for a point."""

    def to_python(self, value: str | None) -> Decimal | None:
        return super().to_python(value.strip().replace(",", ".") if isinstance(value, str) else value)


def amount_field(
    label: str, most: Decimal, digits: int, initial: Decimal | None, *, instead: str | None
) -> AmountField:
    """`instead` is what holds where the field is empty."""
    attrs = {"inputmode": "decimal", "autocomplete": "off", "maxlength": 20, "placeholder": instead}
    widget = forms.TextInput(attrs=attrs)
    return AmountField(
        label=label,
        required=False,
        min_value=0,
        max_value=most,
        decimal_places=digits,
        initial=None if initial is None else plain(initial),
        widget=widget,
    )


def plain(amount: Decimal) -> str:
    """Without the noughts that the database adds: 0.500000 is 0.5."""
    return f"{amount.normalize():f}"


class PricesForm(forms.Form):
    """A field for each item, and one for each model of device that machines have or a price is set for."""

    def __init__(self, data=None) -> None:
        super().__init__(data, prefix="price")
        self.keys: dict[str, tuple[str, str]] = {}
        known = current_prices().of
        for place, (item, name) in enumerate(_priced_things(known)):
            field = f"{item}-{name}" if name else item
            self.keys[field] = (item, name)
            label = name or str(ITEM(item).label)
            instead = plain(known[item, ""]) if name and (item, "") in known else _("free")
            self.fields[field] = amount_field(label, MAX_AMOUNT, 6, known.get((item, name)), instead=instead)
            self.fields[field].widget.attrs["id"] = f"price-{place}"

    def rows(self) -> list[dict]:
        return [
            {"field": self[field], "name": name, "kind": ITEM(item).label, "unit": UNITS.get(item, AN_HOUR)}
            for field, (item, name) in self.keys.items()
        ]

    def apply(self, user) -> None:
        for field, (item, name) in self.keys.items():
            set_price(item=item, device_name=name, amount=self.cleaned_data[field], user=user)


def _priced_things(known) -> list[tuple[str, str]]:
    """Each kind, with its models below it; then storage and network."""
    models = set(Device.objects.exclude(name="").values_list("kind", "name")) | {key for key in known if key[1]}
    found = []
    for item in (ITEM.CUDA, ITEM.MPS, ITEM.CPU, ITEM.STORAGE, ITEM.EGRESS):
        found += [(item.value, ""), *sorted(key for key in models if key[0] == item)]
    return found


class BudgetsForm(forms.Form):
    """A field for each team."""

    def __init__(self, teams: Sequence[Team], data=None) -> None:
        super().__init__(data, prefix="budget")
        self.teams = teams
        self.amounts = dict(Budget.objects.values_list("team_id", "amount_per_month"))
        for team in teams:
            self.fields[str(team.pk)] = amount_field(
                team.name, MOST, 2, self.amounts.get(team.pk), instead=_("no limit")
            )

    def rows(self) -> list[dict]:
        spent = cost_this_month([team.pk for team in self.teams])
        rows = []
        for team in self.teams:
            amount = self.amounts.get(team.pk)
            state = None if amount is None else BudgetState(spent[team.pk], amount)
            rows.append({"field": self[str(team.pk)], "team": team, "spent": spent[team.pk], "state": state})
        return rows

    def apply(self, user) -> None:
        for team in self.teams:
            set_budget(team=team, amount=self.cleaned_data[str(team.pk)], user=user)


@require_http_methods(["GET", "POST"])
def prices(request: HttpRequest) -> HttpResponse:
    require_administrator(request)
    data = request.POST if request.method == "POST" else None
    is_budgets = data is not None and "budgets" in data
    price_form = PricesForm(None if is_budgets else data)
    budget_form = BudgetsForm(list(Team.objects.order_by("name")), data if is_budgets else None)
    if data is not None:
        form = budget_form if is_budgets else price_form
        if form.is_valid():
            with transaction.atomic():
                form.apply(request.user)
            messages.success(request, _("Budgets are saved.") if is_budgets else _("Prices are saved."))
            return redirect("resources:prices")
    context = {"price_form": price_form, "budget_form": budget_form}
    return render(request, "resources/prices.html", context, status=200 if data is None else 422)
