"""Rollouts: try a version on part of the traffic, promote it, roll back, and stop a canary that does worse."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.accounts.services import record_audit
from apps.core.errors import Conflict, NotFound
from apps.deployments.checks import check_same_task, check_version
from apps.deployments.counting import Source, figures_since
from apps.deployments.judging import Limits, why_to_stop
from apps.deployments.models import Canary, Deployment, TrafficChange
from apps.deployments.placing import forgive, reconcile_one
from apps.deployments.traffic import WHOLE, Share, check_shares, served_before, stable_of, with_canary
from apps.registry.models import ModelVersion

Kind = TrafficChange.Kind


def shares_of(deployment: Deployment) -> list[Share]:
    """The target: the stable version first. They sum to 100."""
    canaries = [Share(item.version_id, item.weight, item.wanted_replicas) for item in deployment.canaries.all()]
    rest = WHOLE - sum(share.weight for share in canaries)
    return [Share(deployment.version_id, rest, deployment.wanted_replicas), *canaries]


@transaction.atomic
def set_traffic(*, deployment: Deployment, user: User | None, shares: Sequence[Share]) -> Deployment:
    """Serve exactly these versions, with weights that sum to 100.

    The present stable version stays it while it keeps a share, else it is the one with the largest.

    Raises Unprocessable for shares that cannot be, NotFound for another team's version, Conflict for one of another
    task.
    """
    check_shares(shares)
    row = locked(deployment)
    stable = stable_of(shares, row.version_id)
    return serve(row, user, Kind.CHANGED, [stable, *(item for item in shares if item is not stable and item.weight)])


@transaction.atomic
def try_version(
    *, deployment: Deployment, user: User | None, version: ModelVersion, weight: int = 10, replicas: int = 1
) -> Deployment:
    """Send `weight` percent of the traffic to `version` as soon as it is ready, at the cost of the stable one."""
    row = locked(deployment)
    shares = with_canary(shares_of(row), Share(version.pk, weight, replicas))
    check_shares(shares)
    return serve(row, user, Kind.CHANGED, shares)


@transaction.atomic
def stop_trial(*, deployment: Deployment, user: User | None, version: ModelVersion) -> Deployment:
    """Give the traffic of a canary back to the stable version. Raises Conflict for what is no canary."""
    row = locked(deployment)
    shares = shares_of(row)
    _canary(row, version)
    kept = [item for item in shares[1:] if item.version_id != version.pk and item.weight]
    rest = WHOLE - sum(item.weight for item in kept)
    return serve(row, user, Kind.CHANGED, [Share(row.version_id, rest, row.wanted_replicas), *kept])


@transaction.atomic
def promote(*, deployment: Deployment, user: User | None, version: ModelVersion) -> Deployment:
    """All traffic to `version`, which is stable from now on; it is ready before what served so far stops."""
    row = locked(deployment)
    return serve(row, user, Kind.PROMOTED, [Share(version.pk, WHOLE, row.wanted_replicas)])


@transaction.atomic
def roll_back(*, deployment: Deployment, user: User | None) -> Deployment:
    """All traffic to the version that served before: while a trial runs, the stable one.

    Raises Conflict when nothing else has served.
    """
    row = locked(deployment)
    version = version_before(row)
    if version is None:
        raise Conflict(_("No other version has served here, so there is nothing to go back to."), code="nothing_before")
    return serve(row, user, Kind.ROLLED_BACK, [Share(version.pk, WHOLE, row.wanted_replicas)])


def version_before(deployment: Deployment) -> ModelVersion | None:
    """What `roll_back` would serve."""
    history = list(deployment.traffic_changes.values_list("shares", flat=True))
    named = {share["version_id"] for shares in history for share in shares}
    existing = ModelVersion.objects.filter(pk__in=named, model__team=deployment.team_id).select_related("model")
    versions = {version.pk: version for version in existing}
    return versions.get(served_before(history, versions))


# Stopping by itself


def stop_bad_canaries(deployment_ids: Iterable[int]) -> None:
    """Take the traffic from each canary of these deployments that does worse than its limits allow."""
    for canary in Canary.objects.filter(deployment__in=list(deployment_ids), weight__gt=0).select_related("deployment"):
        deployment = canary.deployment
        change_id = newest_change_id(deployment)
        sources = [Source(deployment.pk, item, change_id) for item in (deployment.version_id, canary.version_id)]
        figures = figures_since(sources)
        limits = Limits(deployment.min_answers, deployment.max_error_points, deployment.max_latency_factor)
        reason = why_to_stop(figures[canary.version_id], figures[deployment.version_id], limits)
        if reason:
            _stop_canary(canary, change_id, reason)


def newest_change_id(deployment: Deployment) -> int:
    """Answers are counted since this change; 0 before the first."""
    return deployment.traffic_changes.values_list("id", flat=True).first() or 0


@transaction.atomic
def _stop_canary(canary: Canary, change_id: int, reason: str) -> None:
    """Unless the traffic was changed since it was judged: those figures were another rollout's."""
    row = locked(canary.deployment)
    if newest_change_id(row) != change_id:
        return
    row.canaries.filter(pk=canary.pk).update(weight=0, stopped_at=timezone.now(), stopped_reason=reason)
    note_change(row, None, Kind.STOPPED, shares_of(row), reason=reason)
    reconcile_one(row.pk)


# Writing it down


def locked(deployment: Deployment) -> Deployment:
    """The deployment as it is, and as it stays until the transaction ends. Raises NotFound where it was deleted."""
    rows = Deployment.objects.select_for_update(of=("self",)).select_related("team", "version__model")
    row = rows.filter(pk=deployment.pk).first()
    if row is None:
        raise NotFound(_("This deployment was deleted."), code="no_such_endpoint")
    return row


def serve(row: Deployment, user: User | None, kind: str, shares: Sequence[Share]) -> Deployment:
    """Inside a transaction, for a locked row: make `shares`, the stable one first, the target."""
    versions = _versions(row, shares)
    served = {share.version_id for share in shares_of(row) if share.weight}
    stable, *canaries = shares
    row.version, row.wanted_replicas = versions[stable.version_id], stable.replicas
    row.save(update_fields=["version", "wanted_replicas"])
    row.canaries.exclude(version__in=[share.version_id for share in canaries]).delete()
    for share in canaries:
        fields = {"weight": share.weight, "wanted_replicas": share.replicas, "stopped_at": None, "stopped_reason": ""}
        Canary.objects.update_or_create(deployment=row, version=versions[share.version_id], defaults=fields)
    for version_id in versions.keys() - served:
        forgive(row, version_id)
    note_change(row, user, kind, shares)
    reconcile_one(row.pk)
    return row


def _versions(row: Deployment, shares: Sequence[Share]) -> dict[int, ModelVersion]:
    """Raises NotFound, Unprocessable, Conflict."""
    named = [share.version_id for share in shares]
    versions = ModelVersion.objects.filter(model__team=row.team_id).select_related("model").in_bulk(named)
    for share in shares:
        version = versions.get(share.version_id)
        check_version(row.team, version)
        check_same_task(row, version)
    return versions


def _canary(row: Deployment, version: ModelVersion) -> Canary:
    found = row.canaries.filter(version=version).first()
    if found is None:
        raise Conflict(_("%(version)s is not tried here.") % {"version": version}, code="not_tried", field="version")
    return found


def note_change(row: Deployment, user: User | None, kind: str, shares: Sequence[Share], *, reason: str = "") -> None:
    """In the deployment's history, and in the team's audit trail."""
    numbers = dict(ModelVersion.objects.filter(pk__in=[s.version_id for s in shares]).values_list("id", "number"))
    told = [asdict(item) | {"version": numbers[item.version_id]} for item in shares]
    TrafficChange.objects.create(deployment=row, made_by=user, kind=kind, shares=told, reason=reason)
    record_audit(
        team=row.team,
        actor=user,
        action=f"deployment.{kind}" if kind != Kind.CHANGED else "deployment.traffic_changed",
        target=f"deployment {row.name}",
        details={"traffic": in_words(told), **({"reason": reason} if reason else {})},
    )


def in_words(shares: Sequence[Mapping]) -> str:
    """ "90 % v3, 10 % v4" """
    return ", ".join(f"{share['weight']} % v{share['version']}" for share in shares if share["weight"])
