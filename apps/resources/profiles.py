"""What a model's layers take on the devices of the pool: as a node has measured it, else by arithmetic."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta

from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from apps.core.doorbell import ring
from apps.resources.models import Device, LayerProfile, Node
from workers.parallel import facts
from workers.parallel.estimates import estimate_profile, step_flops, with_classes
from workers.parallel.shapes import Shape

TRY_AGAIN_AFTER = timedelta(hours=1)
MOST_WANTED = 8  # of one node at a time
TYPICAL_BATCH = 32


@dataclass(frozen=True)
class Sort:
    """What devices have in common that are equally fast: kind and name, and for a CPU the threads that work gets."""

    kind: str
    name: str
    threads: int


def sort_of(device: Device) -> Sort:
    """The node's cores are shared evenly among its devices, as programs are given them."""
    threads = max(1, device.node.cpu_count // max(1, device.node.devices.count()))
    return Sort(device.kind, device.name, threads if device.kind == Device.Kind.CPU else 1)


def rows_of(shape: Shape, sorts: Sequence[Sort]) -> dict[Sort, LayerProfile]:
    """What is known or wanted of each sort."""
    rows = LayerProfile.objects.filter(shape_key=shape.key, device_kind__in={sort.kind for sort in sorts})
    known = {Sort(row.device_kind, row.device_name, row.threads): row for row in rows}
    return {sort: known[sort] for sort in sorts if sort in known}


def profile_of(
    shape: Shape, sort: Sort, known: Mapping[Sort, LayerProfile], augmentation: str, *, may_be_measured: bool = True
) -> facts.ModelProfile:
    """As measured, else estimated from what this sort reached with another shape, else from typical figures."""
    row = known.get(sort)
    if may_be_measured and row and row.measured_at:
        profile = with_classes(facts.ModelProfile.from_dict(row.result["profile"]), shape)
        return replace(profile, loading_seconds=row.result["loading"].get(augmentation, 0.0), device_name=sort.name)
    reached = _reached_flops(sort)
    estimated = estimate_profile(shape, sort.kind, threads=sort.threads, flops_per_second=reached)
    return replace(estimated, device_name=sort.name)


def _reached_flops(sort: Sort) -> float:
    """Operations per second of the last training step that was measured on such a device; 0 where there was none."""
    measured = LayerProfile.objects.filter(
        device_kind=sort.kind, device_name=sort.name, threads=sort.threads, measured_at__isnull=False
    )
    row = measured.order_by("-measured_at").first()
    if row is None:
        return 0.0
    return step_flops(Shape(**row.shape)) * row.result["batch_sizes"][-1] / row.result["step_seconds"]


def step_seconds(profile: facts.ModelProfile) -> float:
    """Forward and backward of a batch of usual size: by this the speeds of devices are compared."""
    return sum(layer.call_seconds + TYPICAL_BATCH * layer.example_seconds for layer in profile.layers)


def want_profile(*, shape: Shape, device: Device) -> LayerProfile | None:
    """Ask the device's node to measure it, unless that is done or under way; None while the node has enough to do.

    What could not be measured is tried again after an hour, and what a node left undone by the node that is asked now.
    """
    sort = sort_of(device)
    node = device.node
    if LayerProfile.objects.filter(node=node, measured_at=None, error="").count() >= MOST_WANTED:
        return rows_of(shape, [sort]).get(sort)
    row, is_new = LayerProfile.objects.get_or_create(
        shape_key=shape.key,
        device_kind=sort.kind,
        device_name=sort.name,
        threads=sort.threads,
        defaults={"shape": asdict(shape), "node": node, "wanted_at": timezone.now()},
    )
    stale = LayerProfile.objects.filter(pk=row.pk, measured_at=None, wanted_at__lt=timezone.now() - TRY_AGAIN_AFTER)
    if stale.update(node=node, wanted_at=Now(), error="") or is_new:
        row.refresh_from_db()
        ring("workers.tasks.start_work", queue=f"node.{node.name}")
    return row


# The node's side


def wanted_of_node(node: Node) -> list[LayerProfile]:
    return list(LayerProfile.objects.filter(node=node, measured_at=None, error="").order_by("wanted_at"))


@transaction.atomic
def record_profile(*, row: LayerProfile, result: dict) -> None:
    """What the node's program measured. Raises ValueError for what is no profile."""
    try:
        facts.ModelProfile.from_dict(result["profile"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a profile: {error}") from error
    LayerProfile.objects.filter(pk=row.pk).update(result=result, measured_at=Now(), error="")


def record_profile_error(*, row: LayerProfile, error: str) -> None:
    LayerProfile.objects.filter(pk=row.pk, measured_at=None).update(error=error[-2000:] or "?")
