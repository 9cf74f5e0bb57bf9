"""Amounts of money in words."""

from decimal import Decimal

from django.conf import settings

SMALLEST = Decimal("0.01")


def money(amount: Decimal | float) -> str:
    """12.5 -> "€12.50", or "12.50 EUR" where the currency is a word (LEPTON_CURRENCY)."""
    currency = settings.LEPTON_CURRENCY
    amount = Decimal(amount)
    if 0 < amount < SMALLEST:
        return "< " + money(SMALLEST)
    figure = f"{amount:,.2f}"
    return f"{figure} {currency}" if currency[:1].isalpha() else f"{currency}{figure}"
