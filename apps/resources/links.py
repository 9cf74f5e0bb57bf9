"""How fast the machines of the pool send to each other: asked for by plans, measured by the agents."""

import secrets
from collections.abc import Collection, Iterable
from datetime import timedelta

from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from apps.core.doorbell import ring
from apps.resources.models import Node, NodeLink
from workers.parallel.facts import Link, Links

GOOD_FOR = timedelta(hours=24)
TRY_AGAIN_AFTER = timedelta(minutes=10)


def links_between(nodes: Collection[Node]) -> Links:
    """What was measured among these machines; the planner assumes the rest."""
    rows = NodeLink.objects.filter(from_node__in=nodes, to_node__in=nodes, measured_at__isnull=False)
    measured = {
        (row.from_node.name, row.to_node.name): Link(row.bytes_per_second, row.rtt_seconds / 2, is_measured=True)
        for row in rows.select_related("from_node", "to_node")
    }
    return Links(measured)


def want_links(nodes: Iterable[Node]) -> bool:
    """Ask each two of these machines to measure how fast they send to each other, unless that was done today. Whether
    something is still to be measured."""
    chosen = sorted({node.pk: node for node in nodes}.values(), key=lambda node: node.pk)
    for first in chosen:
        for second in chosen:
            if first != second:
                _want(first, second)
    waiting = NodeLink.objects.filter(from_node__in=chosen, to_node__in=chosen, wanted_at__isnull=False, error="")
    return waiting.exists()


def _want(sender: Node, receiver: Node) -> None:
    row, is_new = NodeLink.objects.get_or_create(
        from_node=sender, to_node=receiver, defaults={"wanted_at": timezone.now()}
    )
    now = timezone.now()
    old = Q(wanted_at=None) & (Q(measured_at=None) | Q(measured_at__lt=now - GOOD_FOR))
    left = Q(wanted_at__lt=now - TRY_AGAIN_AFTER)
    again = NodeLink.objects.filter(old | left, pk=row.pk)
    if again.update(wanted_at=now, port=None, token="", error="") or is_new:
        ring("workers.tasks.start_work", queue=f"node.{receiver.name}")


# The nodes' side


def links_to_open(node: Node) -> QuerySet[NodeLink]:
    """Links into `node` that wait for it to listen."""
    return NodeLink.objects.filter(to_node=node, wanted_at__isnull=False, port=None, error="")


def links_to_try(node: Node) -> QuerySet[NodeLink]:
    """Links out of `node` whose other end listens."""
    rows = NodeLink.objects.filter(from_node=node, wanted_at__isnull=False, port__isnull=False, error="")
    return rows.select_related("to_node")


def make_token() -> str:
    return secrets.token_hex(32)


def open_link(*, link: NodeLink, port: int, token: str) -> bool:
    """The receiver listens at `port` for who shows `token`; False when somebody was faster."""
    opened = NodeLink.objects.filter(pk=link.pk, port=None, wanted_at__isnull=False).update(port=port, token=token)
    if opened:
        ring("workers.tasks.start_work", queue=f"node.{link.from_node.name}")
    return bool(opened)


def record_link(*, link: NodeLink, bytes_per_second: float, rtt_seconds: float) -> None:
    """What the sender measured with its token; it counts for nothing when it was asked for anew meanwhile."""
    NodeLink.objects.filter(pk=link.pk, token=link.token, port=link.port).update(
        bytes_per_second=bytes_per_second,
        rtt_seconds=rtt_seconds,
        measured_at=Now(),
        wanted_at=None,
        port=None,
        token="",
    )


def record_link_error(*, link: NodeLink, error: str) -> None:
    """It is tried again after a while, when somebody asks."""
    rows = NodeLink.objects.filter(pk=link.pk, wanted_at__isnull=False)
    rows.update(error=error[:500] or "?", port=None, token="")
