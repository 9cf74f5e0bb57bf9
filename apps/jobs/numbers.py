"""Numbers as JSON and PostgreSQL take them. Pure."""

import math
from collections.abc import Mapping
from typing import Any


def finite(value: Any) -> Any:
    """NaN and infinity, which JSON does not know, become null, wherever they stand in `value`."""
    if isinstance(value, Mapping):
        return {name: finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
