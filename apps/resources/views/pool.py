"""The pool at a glance: how full it is, a map of its devices, and the queue and why it waits."""

from django.db.models import F, QuerySet
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_GET

from apps.core.htmx import render_live
from apps.resources.machines import CORDONED, FREE, HELD, MINE, OFFLINE, holder_of, look_at
from apps.resources.models import Allocation
from apps.resources.nodes import nodes_in_pool
from apps.resources.services import pool_overview

SHOWN_WAITING = 100
LARGE, MEDIUM = 24, 120  # up to so many devices, the map's cells are large, or of medium size


@require_GET
def pool(request: HttpRequest) -> HttpResponse:
    """A person sees the own team's work by name, and of other teams only that they hold or want something."""
    sees_all = request.user.is_superuser
    machines = look_at(nodes_in_pool(), team=request.team, sees_all=sees_all)
    states = [slot.state for machine in machines for slot in machine.slots]
    queue = _queue()
    waiting = queue.count()
    shown = list(queue[:SHOWN_WAITING])
    for claim in shown:
        claim.holder = holder_of(claim, request.team, sees_all)
    context = {
        "overview": pool_overview(request.team),
        "machines": machines,
        "cell_size": "lg" if len(states) <= LARGE else "md" if len(states) <= MEDIUM else "sm",
        "counts": {state: states.count(state) for state in (FREE, MINE, HELD, CORDONED, OFFLINE)},
        "queue": shown,
        "waiting": waiting,
        "more_waiting": waiting - len(shown),
        "sees_all": sees_all,
    }
    return render_live(
        request, "resources/pool.html", context, partials={"pool-live": "resources/_pool.html"}, is_live=True
    )


def _queue() -> QuerySet[Allocation]:
    """In the order in which the scheduler would serve it, where it has said so."""
    pending = Allocation.objects.filter(status=Allocation.Status.PENDING)
    order = ("pool_id", F("place").asc(nulls_last=True), "requested_at", "id")
    return pending.select_related("team", "job", "replica__deployment", "pool").order_by(*order)
