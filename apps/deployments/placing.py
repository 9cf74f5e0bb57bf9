"""Replica rows: bring what runs nearer to what is wanted, and give each replica the machine that its claim got."""

from collections.abc import Iterable

from django.db import transaction
from django.db.models import Prefetch, QuerySet
from django.utils import timezone

from apps.core.doorbell import ring
from apps.deployments.claims import claim_for, demand_of_replica, give_back_claims
from apps.deployments.models import Canary, Deployment, Replica
from apps.deployments.replication import Wanted, plan_steps
from apps.resources.models import Allocation, Node
from apps.resources.nodes import nodes_to_leave, online_nodes


def reconcile() -> None:
    """Turn every deployment's wanted state into replica rows. Cheap where nothing is to do."""
    leaving, now = nodes_to_leave(), timezone.now()
    for deployment in with_replicas(Deployment.objects.all()):
        if plan_steps(wanted_of(deployment), list(deployment.replicas.all()), leaving, now):
            with transaction.atomic():
                reconcile_one(deployment.pk)
    unplaced = Replica.objects.filter(status=Replica.Status.PENDING, node=None)
    for replica in unplaced.filter(allocation=None):
        claim_for(replica)
    placed = unplaced.filter(allocation__status=Allocation.Status.GRANTED, allocation__node__in=online_nodes())
    for replica in placed.select_related("allocation"):
        _place(replica)
    give_back_claims()


def with_replicas(deployments: QuerySet[Deployment]) -> QuerySet[Deployment]:
    """With what the state of a deployment is read from, in three queries."""
    return deployments.select_related("team", "version__model").prefetch_related(
        Prefetch("canaries", Canary.objects.select_related("version__model").order_by("id")),
        Prefetch("replicas", Replica.objects.select_related("version", "node", "allocation").order_by("id")),
    )


def wanted_of(deployment: Deployment) -> Wanted:
    """A deployment that was stopped, with 0 replicas, has no canaries either."""
    canaries = [item for item in deployment.canaries.all() if item.weight > 0 and deployment.wanted_replicas]
    versions = [deployment.version, *(canary.version for canary in canaries)]
    return Wanted(
        deployment.version_id,
        deployment.wanted_replicas,
        tuple((canary.version_id, canary.wanted_replicas) for canary in canaries),
        deployment.may_sleep,
        {version.pk: demand_of_replica(deployment, version) for version in versions},
    )


def reconcile_one(deployment_id: int) -> None:
    """Inside a transaction: one deployment's replica rows, with its row locked."""
    deployment = Deployment.objects.select_for_update().filter(pk=deployment_id).first()
    if deployment is None:
        return
    replicas = list(deployment.replicas.select_related("allocation").order_by("id"))
    steps = plan_steps(wanted_of(deployment), replicas, nodes_to_leave(), timezone.now())
    _stop(deployment.replicas.filter(pk__in=steps.stop))
    deployment.replicas.filter(pk__in=steps.forget).delete()
    for start in steps.starts:
        for _number in range(start.replicas):
            made = Replica.objects.create(deployment=deployment, version_id=start.version_id, strikes=start.strikes)
            claim_for(made)


def _stop(replicas: QuerySet[Replica]) -> None:
    """One that has no process yet is stopped at once; its agent sees to the others."""
    pending = replicas.filter(status=Replica.Status.PENDING)
    pending.update(status=Replica.Status.STOPPED, ended_at=timezone.now())
    live = replicas.filter(status__in=(Replica.Status.STARTING, Replica.Status.READY))
    live.update(status=Replica.Status.STOPPING)
    wake(Node.objects.filter(replicas__in=replicas.filter(status=Replica.Status.STOPPING)).distinct())


def _place(replica: Replica) -> None:
    """A waiting replica whose claim was granted starts on the machine that leads it."""
    node = replica.allocation.node
    if Replica.objects.filter(pk=replica.pk, status=Replica.Status.PENDING, node=None).update(node=node):
        wake([node])


def forgive(deployment: Deployment, version_id: int) -> None:
    """Past failures of a version no longer count."""
    deployment.replicas.filter(version=version_id, status=Replica.Status.FAILED).update(strikes=0)


def wake(nodes: Iterable[Node]) -> None:
    for node in nodes:
        ring("workers.tasks.start_work", queue=f"node.{node.name}")
