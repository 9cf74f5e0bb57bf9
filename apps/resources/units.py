"""Amounts of a pool's resources as people write them: 2.5 (cores), 64 GB, 100 (hours). Pure.

A resource is named as in models.Quota.Resource; stored amounts are whole numbers of its unit there.
"""

import re
from decimal import Decimal, localcontext

BYTES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "PB": 10**15}
BYTES |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40, "PIB": 2**50}
HOURS = {"MIN": 60, "H": 3600, "HOUR": 3600, "HOURS": 3600, "D": 86400, "DAY": 86400, "DAYS": 86400}
CORES = {"CORE": 1000, "CORES": 1000, "M": 1}

# resource -> what a number without a unit is counted in, and the units that may follow it
UNITS: dict[str, tuple[int, dict[str, int]]] = {
    "devices": (1, {"DEVICE": 1, "DEVICES": 1}),
    "jobs": (1, {"JOB": 1, "JOBS": 1}),
    "cpu": (1000, CORES),
    "memory": (10**9, BYTES),
    "storage": (10**9, BYTES),
    "egress": (10**9, BYTES),
    "device_time": (3600, HOURS),
}
WHOLE = ("devices", "jobs")
MOST = 2**62
UNLIMITED = ("", "unlimited", "none", "-", "–", "∞")

_AMOUNT = re.compile(r"(\d{1,19}(?:\.\d{0,12})?)\s*([a-z]*)", re.ASCII | re.IGNORECASE)


class UnitError(ValueError):
    """`code` says what is wrong: not_a_number, unknown_unit, not_whole, too_large; `known` the units there are."""

    def __init__(self, code: str, known: tuple[str, ...] = ()) -> None:
        super().__init__(code)
        self.code = code
        self.known = known


def read_amount(resource: str, text: str) -> int | None:
    """ "1.5 TB" -> 1_500_000_000_000; an empty text is None: unlimited. Raises UnitError."""
    text = text.strip()
    if text.lower() in UNLIMITED:
        return None
    found = _AMOUNT.fullmatch(text)
    if found is None:
        raise UnitError("not_a_number")
    usual, known = UNITS[resource]
    unit = found[2].upper()
    if unit and unit not in known:
        raise UnitError("unknown_unit", tuple(known))
    with localcontext(prec=60):
        exact = Decimal(found[1]) * (known[unit] if unit else usual)
        amount = int(exact.to_integral_value())
    if resource in WHOLE and amount != exact:
        raise UnitError("not_whole")
    if amount >= MOST:
        raise UnitError("too_large")
    return amount


def write_amount(resource: str, amount: int | None) -> str:
    """A number for a form field, in the usual unit and without its name: reading it gives the same amount again."""
    if amount is None:
        return ""
    usual = UNITS[resource][0]
    with localcontext(prec=60):
        value = Decimal(amount) / usual
        if resource == "device_time":
            value = value.quantize(Decimal("0.0001"))  # finer than half a second
        text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
