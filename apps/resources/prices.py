"""What the administrators charge, and the one way to change it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation

from django.db import transaction
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.accounts.services import record_audit
from apps.core.errors import Unprocessable
from apps.resources.models import Price
from apps.resources.usage import GB, MONTH_SECONDS, ZERO

MAX_AMOUNT = Decimal(100_000)
MAX_NAME_LENGTH = 120
ITEM = Price.Item


@dataclass(frozen=True)
class Prices:
    """The prices of one moment. `of` is keyed by (item, device name); "" is every device of the kind."""

    of: Mapping[tuple[str, str], Decimal] = field(default_factory=dict)

    def device_hour(self, kind: str, name: str = "") -> Decimal:
        """An hour of one device: the price of its model where it has one, else that of its kind."""
        return self.of.get((kind, name), self.of.get((kind, ""), ZERO))

    def devices(self, held: Iterable[tuple[str, str]], seconds: float) -> Decimal:
        """What holding the devices, (kind, name) each, costs for so long."""
        return sum((self.device_hour(*device) for device in held), ZERO) * Decimal(seconds) / 3600

    def storage(self, byte_seconds: float) -> Decimal:
        return self.of.get((ITEM.STORAGE, ""), ZERO) * Decimal(byte_seconds) / GB / MONTH_SECONDS

    def egress(self, sent_bytes: int) -> Decimal:
        return self.of.get((ITEM.EGRESS, ""), ZERO) * sent_bytes / GB


def current_prices() -> Prices:
    rows = Price.objects.values_list("item", "device_name", "amount")
    return Prices({(item, name): amount for item, name, amount in rows})


@transaction.atomic
def set_price(*, item: str, amount: Decimal | None, user: User | None, device_name: str = "") -> None:
    """Charge `amount` from now on; None takes the price away, so that a model of device costs what its kind does.

    What is written down already keeps the price it was written with. Raises Unprocessable.
    """
    if (
        item not in ITEM.values
        or (device_name and item in (ITEM.STORAGE, ITEM.EGRESS))
        or len(device_name) > MAX_NAME_LENGTH
    ):
        raise Unprocessable(_("There is no price for this."), code="unknown_price", field="item")
    before = Price.objects.filter(item=item, device_name=device_name).values_list("amount", flat=True).first()
    if amount is not None:
        amount = checked_amount(amount, digits=6)
    if amount == before:
        return
    if amount is None:
        Price.objects.filter(item=item, device_name=device_name).delete()
    else:
        Price.objects.update_or_create(item=item, device_name=device_name, defaults={"amount": amount})
    details = {"before": _written(before), "after": _written(amount)}
    record_audit(team=None, actor=user, action="price.changed", target=f"{item} {device_name}".strip(), details=details)


def checked_amount(amount: Decimal, *, digits: int, most: Decimal = MAX_AMOUNT) -> Decimal:
    """An amount of money with at most so many digits after the point. Raises Unprocessable."""
    try:
        rounded = amount.quantize(Decimal(1).scaleb(-digits))
    except InvalidOperation:
        rounded = None
    if rounded is None or not amount.is_finite() or not 0 <= amount <= most:
        raise Unprocessable(
            _("Give an amount from 0 to %(most)s.") % {"most": f"{most:,}"}, code="out_of_range", field="amount"
        )
    return rounded


def _written(amount: Decimal | None) -> str | None:
    return None if amount is None else str(amount)
