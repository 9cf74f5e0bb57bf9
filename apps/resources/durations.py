"""How long work will take, as each pool has learned it from what ended well."""

from collections.abc import Mapping

from apps.resources.models import Pool
from apps.resources.scheduling import Estimate


def estimate_duration(pool: Pool, features: Mapping[str, str | float]) -> Estimate | None:
    """How long work of this kind will run in all."""
    return None
