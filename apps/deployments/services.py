"""The deployments' verbs: deploy, change, delete, and bring what runs nearer to what is wanted."""

from django.db import IntegrityError, transaction
from django.db.models import Count, Prefetch, Q, QuerySet
from django.urls import reverse
from django.utils import timezone
from django.utils.text import slugify
from django.utils.translation import gettext as _

from apps.accounts.models import Team, User
from apps.accounts.services import record_audit
from apps.core.doorbell import ring
from apps.core.errors import Conflict, NotFound, Unprocessable
from apps.deployments.models import Deployment, Replica
from apps.deployments.replication import State, Wanted, describe, plan_steps
from apps.registry.models import ModelVersion
from apps.resources.models import Node
from apps.resources.nodes import nodes_to_leave, open_nodes
from workers.contract import TASKS

MAX_REPLICAS = 8
NAME_LENGTH = 80


def deploy_version(
    *, team: Team, user: User | None, version: ModelVersion, name: str = "", is_public: bool = False
) -> Deployment:
    """Ask for one replica of `version`. Without a name it gets the model's, with a number where that is taken.

    Raises NotFound for another team's version, Unprocessable for a name or a version that cannot be used, and Conflict
    when the team has a deployment of that name.
    """
    _check_version(team, version)
    name = check_name(name) if name else _free_name(team, version)
    try:
        with transaction.atomic():
            deployment = Deployment.objects.create(
                team=team, name=name, version=version, is_public=is_public, created_by=user
            )
            _note(deployment, user, "deployment.created", {"version": str(version), "is_public": is_public})
            _reconcile_one(deployment.pk)
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
) -> Deployment:
    """Change what is wanted. A new version is ready before the old one stops.

    Raises Conflict for a version of another task, Unprocessable for a number of replicas out of range.
    """
    row = Deployment.objects.select_for_update().select_related("team", "version__model").get(pk=deployment.pk)
    changes = {"is_public": is_public, "version": version, "wanted_replicas": wanted_replicas}
    changes = {key: value for key, value in changes.items() if value is not None and value != getattr(row, key)}
    if "version" in changes:
        _check_version(row.team, version)
        _check_same_task(row, version)
        _forgive(row, version)
    if "wanted_replicas" in changes:
        _check_count(wanted_replicas)
    for key, value in changes.items():
        setattr(row, key, value)
    if changes:
        row.save(update_fields=list(changes))
        _note(row, user, "deployment.changed", {key: str(value) for key, value in changes.items()})
        _reconcile_one(row.pk)
    return row


@transaction.atomic
def retry_deployment(*, deployment: Deployment, user: User | None) -> None:
    """Start again what was given up after several failures."""
    _forgive(deployment, deployment.version)
    _note(deployment, user, "deployment.retried", {})
    _reconcile_one(deployment.pk)


@transaction.atomic
def delete_deployment(*, deployment: Deployment, user: User | None) -> None:
    """Delete it at once; the node agent ends processes whose row is gone."""
    nodes = Node.objects.filter(replicas__deployment=deployment, replicas__status__in=Replica.LIVE).distinct()
    for node in nodes:
        _wake(node)
    _note(deployment, user, "deployment.deleted", {"version": str(deployment.version)})
    deployment.delete()


def reconcile() -> None:
    """Turn every deployment's wanted state into replica rows. Cheap where nothing is to do."""
    leaving = nodes_to_leave()
    for deployment in with_replicas(Deployment.objects.all()):
        replicas = list(deployment.replicas.all())
        if plan_steps(wanted_of(deployment), replicas, leaving):
            with transaction.atomic():
                _reconcile_one(deployment.pk)
    for replica in Replica.objects.filter(status=Replica.Status.PENDING, node=None):
        _place(replica)


def with_replicas(deployments: QuerySet[Deployment]) -> QuerySet[Deployment]:
    """With what `state_of` reads, in two queries."""
    return deployments.select_related("team", "version__model").prefetch_related(
        Prefetch("replicas", Replica.objects.select_related("version", "node").order_by("id"))
    )


def wanted_of(deployment: Deployment) -> Wanted:
    return Wanted(deployment.version_id, deployment.wanted_replicas)


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


# Checks


def check_name(name: str) -> str:
    """Raises Unprocessable unless `name` can stand in an address."""
    if name != slugify(name) or not 1 <= len(name) <= NAME_LENGTH:
        raise Unprocessable(
            _("A deployment's name is part of its address: use up to %(n)d small letters, digits and hyphens.")
            % {"n": NAME_LENGTH},
            code="invalid_name",
            field="name",
        )
    return name


def _check_version(team: Team, version: ModelVersion) -> None:
    if version.model.team_id != team.pk:
        raise NotFound(_("There is no such model version, or it belongs to another team."))
    if not version.artifacts.filter(name="meta.json").exists():
        raise Unprocessable(
            _("%(version)s has no files to serve. Train it again.") % {"version": version}, code="not_deployable"
        )


def _check_same_task(deployment: Deployment, version: ModelVersion) -> None:
    if version.model.task != deployment.version.model.task:
        raise Conflict(
            _("%(version)s is for %(theirs)s; this deployment answers %(ours)s. Deploy it under a name of its own.")
            % {
                "version": version,
                "theirs": version.model.task.replace("_", " "),
                "ours": deployment.version.model.task.replace("_", " "),
            },
            code="other_task",
            field="version",
        )


def _check_count(wanted: int) -> None:
    if not 0 <= wanted <= MAX_REPLICAS:
        raise Unprocessable(
            _("Choose between 0 and %(n)d replicas.") % {"n": MAX_REPLICAS},
            code="out_of_range",
            field="wanted_replicas",
        )


def _free_name(team: Team, version: ModelVersion) -> str:
    base = slugify(version.model.name)[: NAME_LENGTH - 4] or "model"
    taken = set(Deployment.objects.filter(team=team, name__startswith=base).values_list("name", flat=True))
    return next(name for name in [base, *(f"{base}-{n}" for n in range(2, len(taken) + 3))] if name not in taken)


# Replica rows


def _reconcile_one(deployment_id: int) -> None:
    """Inside a transaction: one deployment's replica rows, with its row locked."""
    deployment = Deployment.objects.select_for_update().filter(pk=deployment_id).first()
    if deployment is None:
        return
    steps = plan_steps(wanted_of(deployment), list(deployment.replicas.order_by("id")), nodes_to_leave())
    _stop(deployment.replicas.filter(pk__in=steps.stop))
    deployment.replicas.filter(pk__in=steps.forget).delete()
    for _number in range(steps.start):
        replica = Replica.objects.create(deployment=deployment, version_id=deployment.version_id, strikes=steps.strikes)
        _place(replica)


def _stop(replicas: QuerySet[Replica]) -> None:
    """One that has no process yet is stopped at once; its agent sees to the others."""
    pending = replicas.filter(status=Replica.Status.PENDING)
    pending.update(status=Replica.Status.STOPPED, ended_at=timezone.now())
    live = replicas.filter(status__in=(Replica.Status.STARTING, Replica.Status.READY))
    live.update(status=Replica.Status.STOPPING)
    for node in Node.objects.filter(replicas__in=replicas.filter(status=Replica.Status.STOPPING)).distinct():
        _wake(node)


def _place(replica: Replica) -> None:
    """Give a waiting replica to the online node that serves the fewest; without one it goes on waiting."""
    busy = Count("replicas", filter=Q(replicas__status__in=Replica.LIVE))
    node = open_nodes().annotate(busy=busy).order_by("busy", "id").first()
    if node and Replica.objects.filter(pk=replica.pk, status=Replica.Status.PENDING, node=None).update(node=node):
        _wake(node)


def _forgive(deployment: Deployment, version: ModelVersion) -> None:
    """Past failures of `version` no longer count."""
    deployment.replicas.filter(version=version, status=Replica.Status.FAILED).update(strikes=0)


def _wake(node: Node) -> None:
    ring("workers.tasks.start_work", queue=f"node.{node.name}")


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
