"""The deployments' verbs: deploy, change, delete, and find what answers to a name. Rollouts stand in rollouts.py."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Count, Q
from django.urls import reverse
from django.utils.text import slugify
from django.utils.translation import gettext as _

from apps.accounts.limits import check_per_minute
from apps.accounts.models import ApiKey, Team, User
from apps.accounts.services import record_audit
from apps.core.errors import Conflict, NotFound
from apps.deployments.admission import check_networks
from apps.deployments.autoscaling import forget_load, note_scaling
from apps.deployments.checks import NAME_LENGTH, check_name, check_scaling, check_version
from apps.deployments.models import Deployment, Replica, TrafficChange
from apps.deployments.pages import check_page
from apps.deployments.placing import forgive, reconcile_one, wake, wanted_of
from apps.deployments.replication import State, describe
from apps.deployments.rollouts import locked, note_change, serve, shares_of
from apps.deployments.traffic import WHOLE, Share, check_count
from apps.registry.models import ModelVersion
from apps.resources.models import Node
from workers.domains import TASKS


def deploy_version(
    *,
    team: Team,
    user: User | None,
    version: ModelVersion,
    name: str = "",
    is_public: bool = False,
    page: str = "",
    page_settings: Mapping[str, Any] | None = None,
) -> Deployment:
    """Ask for one replica of `version`. Without a name it gets the model's, with a number where that is taken.

    Raises NotFound for another team's version, Unprocessable for a name or a version that cannot be used, and Conflict
    when the team has a deployment of that name.
    """
    check_version(team, version)
    check_page(version.model.task, page, page_settings or {})
    name = check_name(name) if name else _free_name(team, version)
    try:
        with transaction.atomic():
            deployment = Deployment.objects.create(
                team=team,
                name=name,
                version=version,
                is_public=is_public,
                page=page,
                page_settings=page_settings or {},
                created_by=user,
            )
            note_change(deployment, user, TrafficChange.Kind.CREATED, shares_of(deployment))
            reconcile_one(deployment.pk)
    except IntegrityError as error:
        raise Conflict(
            _('Your team already has a deployment called "%(name)s". Choose another name, or change its version.')
            % {"name": name},
            code="name_taken",
            field="name",
        ) from error
    return deployment


@transaction.atomic
def change_deployment(
    *,
    deployment: Deployment,
    user: User | None,
    is_public: bool | None = None,
    version: ModelVersion | None = None,
    wanted_replicas: int | None = None,
    min_answers: int | None = None,
    max_error_points: float | None = None,
    max_latency_factor: float | None = None,
    requests_per_minute: int | None = None,
    allowed_networks: Sequence[str] | None = None,
    max_replicas: int | None = None,
    min_replicas: int | None = None,
    target_in_flight: float | None = None,
    target_latency_ms: int | None = None,
    idle_minutes: int | None = None,
    page: str | None = None,
    page_settings: Mapping[str, Any] | None = None,
) -> Deployment:
    """Change what is wanted; None leaves it, and 0 requests a minute are as many as one likes.

    A new version gets all traffic, and is ready before the old one stops. With `max_replicas` their number follows the
    load; 0 keeps it as it is. A `target_latency_ms` of 0 is none.

    Raises Conflict for a version of another task, Unprocessable for a number of replicas out of range.
    """
    row = locked(deployment)
    before, was_scaled = row.wanted_replicas, row.max_replicas is not None
    if page is not None or page_settings is not None:
        page_settings = row.page_settings if page_settings is None else page_settings
        check_page(row.version.model.task, row.page if page is None else page, page_settings)
    asked = {
        "page": page,
        "page_settings": page_settings,
        "min_replicas": min_replicas,
        "target_in_flight": target_in_flight,
        "idle_minutes": idle_minutes,
        "is_public": is_public,
        "wanted_replicas": wanted_replicas,
        "min_answers": min_answers,
        "max_error_points": max_error_points,
        "max_latency_factor": max_latency_factor,
        "allowed_networks": None if allowed_networks is None else check_networks(allowed_networks),
    }
    changes = {key: value for key, value in asked.items() if value is not None and value != getattr(row, key)}
    if requests_per_minute is not None and (requests_per_minute or None) != row.requests_per_minute:
        changes["requests_per_minute"] = requests_per_minute or None
        check_per_minute(changes["requests_per_minute"])
    for name, number in (("max_replicas", max_replicas), ("target_latency_ms", target_latency_ms)):
        if number is not None and (number or None) != getattr(row, name):
            changes[name] = number or None
    check_count(changes.get("wanted_replicas", 0))
    for key, value in changes.items():
        setattr(row, key, value)
    check_scaling(row, is_count_asked="wanted_replicas" in changes)
    if changes:
        row.save(update_fields=list(changes))
        _note(row, user, "deployment.changed", {key: str(value) for key, value in changes.items()})
    if row.max_replicas is not None and not was_scaled:
        forget_load(row)
    if before != row.wanted_replicas:
        note_scaling(row, before, user=user)
    if version is not None and version.pk != row.version_id:
        serve(row, user, TrafficChange.Kind.PROMOTED, [Share(version.pk, WHOLE, row.wanted_replicas)])
    elif changes:
        reconcile_one(row.pk)
    return row


@transaction.atomic
def retry_deployment(*, deployment: Deployment, user: User | None) -> None:
    """Start again what was given up after several failures."""
    for share in shares_of(deployment):
        forgive(deployment, share.version_id)
    _note(deployment, user, "deployment.retried", {})
    reconcile_one(deployment.pk)


@transaction.atomic
def delete_deployment(*, deployment: Deployment, user: User | None) -> None:
    """Delete it at once, with the keys of its load tests; the node agent ends processes whose row is gone."""
    wake(Node.objects.filter(replicas__deployment=deployment, replicas__status__in=Replica.LIVE).distinct())
    _note(deployment, user, "deployment.deleted", {"version": str(deployment.version)})
    ApiKey.objects.filter(pk__in=deployment.load_tests.values("api_key")).delete()
    deployment.delete()


def state_of(deployment: Deployment) -> State:
    """What the deployment as a whole is doing, and why."""
    return describe(wanted_of(deployment), list(deployment.replicas.all()))


def find_endpoint(team: Team | int, name: str) -> Deployment:
    """The deployment that answers to `name`: its own name, else a model's, else a task's; the newest ready one first.

    Raises NotFound, also for what belongs to another team.
    """
    mine = Deployment.objects.filter(team=team).select_related("version__model").order_by("-created_at")
    is_ready = Count("replicas", filter=Q(replicas__status=Replica.Status.READY))
    if found := mine.filter(name=name).first():
        return found
    by_readiness = mine.annotate(ready=is_ready).order_by("-ready", "-created_at")
    if found := by_readiness.filter(version__model__name=name).first():
        return found
    if name in TASKS and (found := by_readiness.filter(version__model__task=name).first()):
        return found
    raise NotFound(
        _('Your team has no deployment called "%(name)s", and no model or task of that name is deployed.')
        % {"name": name},
        code="no_such_endpoint",
    )


def _free_name(team: Team, version: ModelVersion) -> str:
    base = slugify(version.model.name)[: NAME_LENGTH - 4] or "model"
    taken = set(Deployment.objects.filter(team=team, name__startswith=base).values_list("name", flat=True))
    return next(name for name in [base, *(f"{base}-{n}" for n in range(2, len(taken) + 3))] if name not in taken)


def _note(deployment: Deployment, user: User | None, action: str, details: dict) -> None:
    record_audit(
        team=deployment.team, actor=user, action=action, target=f"deployment {deployment.name}", details=details
    )


def prediction_path(deployment: Deployment) -> str:
    """What programs call."""
    return f"/v1/models/{deployment.name}/predict"


def demo_path(deployment: Deployment) -> str:
    """The public face."""
    return reverse("deployments:demo", args=[deployment.team.slug, deployment.name])
