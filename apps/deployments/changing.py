"""What people may change of a deployment, and which of it really changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from apps.accounts.limits import check_per_minute
from apps.deployments.admission import check_networks
from apps.deployments.models import Deployment
from apps.deployments.pages import check_page
from apps.deployments.traffic import check_count
from apps.registry.models import ModelVersion

ZERO_IS_NONE = ("requests_per_minute", "max_replicas", "target_latency_ms", "replica_cpu", "replica_memory")


class Wanted(TypedDict, total=False):
    """Each None leaves what it is about as it is.

    0 `requests_per_minute` are as many as one likes. With `max_replicas` their number follows the load, 0 keeps it as
    it is. A `target_latency_ms` of 0 is none. `replica_cpu` in cores and `replica_memory` in GB, 0 for what is usual.
    """

    is_public: bool | None
    wanted_replicas: int | None
    min_answers: int | None
    max_error_points: float | None
    max_latency_factor: float | None
    requests_per_minute: int | None
    allowed_networks: Sequence[str] | None
    max_replicas: int | None
    min_replicas: int | None
    target_in_flight: float | None
    target_latency_ms: int | None
    idle_minutes: int | None
    replica_cpu: float | None
    replica_memory: float | None
    page: str | None
    page_settings: Mapping[str, Any] | None


def changes_to(deployment: Deployment, wanted: Wanted, version: ModelVersion) -> dict[str, Any]:
    """The fields that become something else, with their new values, where `version` is what it serves then. Raises
    Unprocessable for what cannot be, with `field`."""
    asked: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}
    if "page" in asked or "page_settings" in asked:
        page, settings = (asked.get(name, getattr(deployment, name)) for name in ("page", "page_settings"))
        check_page(version.model.task, page, settings, version.meta.get("classes"))
    if "allowed_networks" in asked:
        asked["allowed_networks"] = check_networks(asked["allowed_networks"])
    asked |= {name: asked[name] or None for name in ZERO_IS_NONE if name in asked}
    changes = {name: value for name, value in asked.items() if value != getattr(deployment, name)}
    if "requests_per_minute" in changes:
        check_per_minute(changes["requests_per_minute"])
    check_count(changes.get("wanted_replicas", 0))
    return changes
