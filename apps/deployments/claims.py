"""What replicas ask of the pool: CPU and memory for as long as they serve, by the same plan as all other work."""

from django.db import transaction
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from apps.core.errors import DomainError
from apps.deployments.models import Deployment, Replica
from apps.deployments.replication import MAX_STRIKES
from apps.registry.models import ModelVersion
from apps.resources.models import Allocation
from apps.resources.nodes import lost_nodes, usual_pool
from apps.resources.refusals import find_refusal
from apps.resources.scheduling import Demand
from apps.resources.services import release_allocation, request_allocation
from apps.resources.wanted import GB, Terms, Wanted
from workers.inference.reaching import MOST_LANES, most_lanes

# Set aside for each replica; what its machine has to spare beyond that it may use as well.
CPU_MILLICORES = 100
PROCESS_BYTES = 150 * 10**6
TERMS = Terms(is_preemptible=False)
FIELDS = {"cpu": "replica_cpu", "memory": "replica_memory"}


def demand_of_replica(deployment: Deployment, version: ModelVersion) -> Demand:
    """What one replica asks for: what people set for the deployment, or what is usual for a model of this size."""
    cpu = round(deployment.replica_cpu * 1000) if deployment.replica_cpu else CPU_MILLICORES
    copies = most_lanes(version.size_bytes, MOST_LANES)
    usual_bytes = PROCESS_BYTES + (1 + copies) * version.size_bytes  # its files, and the model in each process
    memory_bytes = round(deployment.replica_memory * GB) if deployment.replica_memory else usual_bytes
    return Demand(cpu_millicores=cpu, memory_bytes=memory_bytes, is_service=True)


def check_demand(deployment: Deployment) -> None:
    """Raises Unprocessable, with the `field` to change, where the pool could never hold a replica of the stable
    version."""
    wanted = Wanted(usual_pool(), demand_of_replica(deployment, deployment.version), TERMS)
    refusal = find_refusal(team=deployment.team, user=deployment.created_by, wanted=wanted)
    if refusal is not None:
        refusal.field = FIELDS.get(refusal.field, "")
        raise refusal


@transaction.atomic
def claim_for(replica: Replica) -> None:
    """Ask the pool for a waiting replica. One that the pool can never hold has failed, and says why."""
    row = Replica.objects.select_for_update().filter(pk=replica.pk, status=Replica.Status.PENDING).first()
    if row is None or row.allocation_id:
        return
    deployment = replica.deployment
    try:
        with transaction.atomic():
            row.allocation = request_allocation(
                team=deployment.team,
                user=deployment.created_by,
                demand=demand_of_replica(deployment, replica.version),
                terms=TERMS,
            )
    except DomainError as error:
        row.status, row.reason, row.ended_at = Replica.Status.FAILED, error.message, timezone.now()
        row.strikes = max(MAX_STRIKES, row.strikes + 1)
    row.save()


def give_back_claims() -> None:
    """Release what nobody serves with any more: of replicas that ended, were deleted, or are on a lost machine."""
    serving = Replica.objects.filter(allocation=OuterRef("pk")).exclude(
        Q(status__in=Replica.ENDED) | Q(node__in=lost_nodes()) | Q(node__removed_at__isnull=False)
    )
    held = Allocation.objects.filter(is_service=True).exclude(status=Allocation.Status.RELEASED)
    for claim in held.exclude(Exists(serving)):
        release_allocation(allocation=claim)
