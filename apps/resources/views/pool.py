"""The pool: its machines and who holds them, the queue and why it waits, and the team's quota."""

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_GET

from apps.core.htmx import render_live
from apps.resources.models import Allocation, Node
from apps.resources.nodes import is_online, nodes_in_pool
from apps.resources.services import pool_overview


@require_GET
def pool(request: HttpRequest) -> HttpResponse:
    """A person sees the own team's work by name, and of other teams only that they hold or want something."""
    context = {
        "overview": pool_overview(request.team),
        "nodes": _nodes(),
        "queue": list(_queue()),
        "sees_all": request.user.is_superuser,
    }
    return render_live(
        request, "resources/pool.html", context, partials={"pool-live": "resources/_pool.html"}, is_live=True
    )


def _nodes() -> list[Node]:
    nodes = list(nodes_in_pool().select_related("pool").prefetch_related("devices__allocation__team").order_by("name"))
    holders = Allocation.objects.filter(status=Allocation.Status.GRANTED).select_related("team", "job")
    light: dict[int, list[Allocation]] = {}
    held: dict[int, Allocation] = {}
    for allocation in holders:
        held[allocation.pk] = allocation
        if not allocation.devices_asked:
            light.setdefault(allocation.node_id, []).append(allocation)
    for node in nodes:
        node.is_online = is_online(node)
        node.light = light.get(node.pk, [])
        node.slots = list(node.devices.all())
        for device in node.slots:
            device.holder = held.get(device.allocation_id)
        node.used = sum(device.allocation_id is not None for device in node.slots)
    return nodes


def _queue() -> QuerySet[Allocation]:
    pending = Allocation.objects.filter(status=Allocation.Status.PENDING)
    return pending.select_related("team", "job__created_by").order_by("requested_at", "id")
