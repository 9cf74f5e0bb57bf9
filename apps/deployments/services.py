"""The deployments' verbs: deploy, change, delete, and find what answers to a name. Rollouts stand in rollouts.py."""

from collections.abc import Mapping
from typing import Any, Unpack

from django.db import IntegrityError, transaction
from django.db.models import Count, Q
from django.urls import reverse
from django.utils.text import slugify
from django.utils.translation import gettext as _

from apps.accounts.models import ApiKey, Team, User
from apps.accounts.services import record_audit
from apps.core.errors import Conflict, NotFound
from apps.deployments.autoscaling import forget_load, note_scaling
from apps.deployments.changing import Wanted, changes_to
from apps.deployments.checks import NAME_LENGTH, check_name, check_scaling, check_version
from apps.deployments.claims import check_demand
from apps.deployments.models import Deployment, Replica, TrafficChange
from apps.deployments.pages import check_page
from apps.deployments.placing import forgive, reconcile_one, wake, wanted_of
from apps.deployments.replication import State, describe
from apps.deployments.rollouts import locked, note_change, serve, shares_of
from apps.deployments.traffic import WHOLE, Share
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

    Raises NotFound for another team's version, Unprocessable for a name or a version that cannot be used or that the
    pool could never hold, and Conflict when the team has a deployment of that name.
    """
    check_version(team, version)
    check_page(version.model.task, page, page_settings or {}, version.meta.get("classes"))
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
            check_demand(deployment)
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
    *, deployment: Deployment, user: User | None, version: ModelVersion | None = None, **wanted: Unpack[Wanted]
) -> Deployment:
    """Change what is wanted; None leaves it as it is. A new version gets all traffic, and is ready before the old one
    stops. Raises Conflict for a version of another task, and what `changes_to` raises."""
    row = locked(deployment)
    before, was_scaled = row.wanted_replicas, row.max_replicas is not None
    changes = changes_to(row, wanted, version or row.version)
    for name, value in changes.items():
        setattr(row, name, value)
    check_scaling(row, is_count_asked="wanted_replicas" in changes)
    if "replica_cpu" in changes or "replica_memory" in changes:
        check_demand(row)
    if changes:
        row.save(update_fields=list(changes))
        _note(row, user, "deployment.changed", {name: str(value) for name, value in changes.items()})
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
    locked(deployment)
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
    message = _('Your team has no deployment called "%(name)s", and no model or task of that name is deployed.')
    if name in TASKS:
        message += " " + _("Deploy a model, or set up an example: on the home page, or by client.recipes.start.")
    raise NotFound(message % {"name": name}, code="no_such_endpoint")


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
