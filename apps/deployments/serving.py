"""The versions that a deployment serves, as its page and the API tell them: target, what is active, and figures."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

from redis.exceptions import RedisError

from apps.deployments import in_flight
from apps.deployments.counting import SLOT_SECONDS, Source, figures_lately, figures_since
from apps.deployments.judging import Figures
from apps.deployments.models import Canary, Deployment, Replica
from apps.deployments.replication import State, Wanted, describe
from apps.deployments.rollouts import newest_change_id, shares_of
from apps.deployments.traffic import Share, active_weights
from apps.registry.models import ModelVersion

LATELY_SECONDS = 300
RATE_SECONDS = 60

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Served:
    """`weight` is the target and `active_weight` what it gets now, in percent; `canary` is None for the stable one."""

    version: ModelVersion
    weight: int
    active_weight: float
    replicas: int
    ready: int
    state: State
    canary: Canary | None = None

    @property
    def is_stable(self) -> bool:
        return self.canary is None

    @property
    def is_diverted(self) -> bool:
        """Whether it gets something else than was asked for."""
        return round(self.active_weight) != self.weight


def served_versions(deployment: Deployment) -> list[Served]:
    """The stable version first. `deployment` comes from with_replicas."""
    ready = [item.version_id for item in reversed(deployment.replicas.all()) if item.status == Replica.Status.READY]
    shares = shares_of(deployment)
    active = active_weights(shares, list(dict.fromkeys(ready)))
    canaries = {canary.version_id: canary for canary in deployment.canaries.all()}
    versions = {deployment.version_id: deployment.version} | {key: item.version for key, item in canaries.items()}
    return [
        _served(deployment, share, versions[share.version_id], canaries.get(share.version_id), active)
        for share in shares
    ]


def _served(
    deployment: Deployment,
    share: Share,
    version: ModelVersion,
    canary: Canary | None,
    active: dict[int, float],
) -> Served:
    mine = [item for item in deployment.replicas.all() if item.version_id == share.version_id]
    wanted = share.replicas if share.weight else 0
    return Served(
        version=version,
        weight=share.weight,
        active_weight=active.get(share.version_id, 0.0),
        replicas=wanted,
        ready=sum(item.status == Replica.Status.READY for item in mine),
        state=describe(Wanted(share.version_id, wanted, may_sleep=deployment.may_sleep), mine),
        canary=canary,
    )


def requests_in_flight(deployment: Deployment) -> float | None:
    """On all web servers, on average over the last second; None where their server does not answer."""
    try:
        return in_flight.read().get(deployment.pk, 0.0)
    except RedisError:
        logger.warning("the load of deployment %s cannot be read", deployment.pk, exc_info=True)
        return None


@dataclass(frozen=True)
class Measured:
    """The figures of a version in the last five minutes, and `judged`, those since the traffic was changed.

    `per_second` is the rate of the last minute.
    """

    lately: Figures = Figures()
    judged: Figures = Figures()
    per_second: float = 0.0


def measure(deployment: Deployment, version_ids: Sequence[int], *, now: float | None = None) -> dict[int, Measured]:
    """Version -> its figures; none where their server does not answer, for which no page is lost."""
    change_id = newest_change_id(deployment)
    now = time.time() if now is None else now
    try:
        lately = figures_lately(deployment.pk, version_ids, now=now, seconds=LATELY_SECONDS)
        minute = figures_lately(deployment.pk, version_ids, now=now, seconds=RATE_SECONDS)
        judged = figures_since(Source(deployment.pk, item, change_id) for item in version_ids)
    except RedisError:
        logger.warning("the figures of deployment %s cannot be read", deployment.pk, exc_info=True)
        return {}
    covered_seconds = RATE_SECONDS + now % SLOT_SECONDS
    return {item: Measured(lately[item], judged[item], minute[item].answers / covered_seconds) for item in version_ids}
