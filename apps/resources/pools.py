"""Pools: made, renamed, and given machines."""

import re

from django.db import transaction
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from apps.accounts.models import User
from apps.accounts.services import record_audit
from apps.core.doorbell import ring_once
from apps.core.errors import Conflict, Unprocessable
from apps.resources.models import Allocation, Node, Pool
from apps.resources.nodes import default_pool

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,58}[a-z0-9])?", re.ASCII)


@transaction.atomic
def create_pool(*, name: str, user: User | None) -> Pool:
    """An empty pool, first come, first served. Raises Unprocessable for a bad name, Conflict for one that is taken."""
    pool = Pool.objects.create(name=_free_name(name))
    record_audit(team=None, actor=user, action="pool.created", target=pool.name)
    return pool


@transaction.atomic
def rename_pool(*, pool: Pool, name: str, user: User | None) -> Pool:
    """Raises Conflict for the default pool: machines that join and work that names no pool look for it by its name."""
    if pool == default_pool():
        raise Conflict(_("The default pool keeps its name. Make another pool beside it."), code="default_pool")
    if name.strip() == pool.name:
        return pool
    before, pool.name = pool.name, _free_name(name)
    pool.save(update_fields=["name"])
    record_audit(team=None, actor=user, action="pool.renamed", target=pool.name, details={"from": before})
    return pool


def _free_name(name: str) -> str:
    name = name.strip()
    if not NAME.fullmatch(name):
        raise Unprocessable(
            _("Use up to 60 small letters, digits and hyphens, such as teaching-2."), code="bad_name", field="name"
        )
    if Pool.objects.filter(name=name).exists():
        message = _("There is a pool called %(name)s already. Choose another name.") % {"name": name}
        raise Conflict(message, code="name_taken", field="name")
    return name


@transaction.atomic
def move_node(*, node: Node, pool: Pool, user: User | None) -> Node:
    """Give the machine to another pool. Raises Conflict while something runs on it, or when it was removed."""
    target = Pool.objects.select_for_update(no_key=True).get(pk=pool.pk)
    row = Node.objects.select_for_update(no_key=True).select_related("pool").get(pk=node.pk)
    if row.removed_at:
        raise Conflict(_("%(node)s was removed from the pool.") % {"node": row.name}, code="node_removed")
    if row.pool_id == target.pk:
        return row
    busy = Allocation.objects.filter(status=Allocation.Status.GRANTED, placements__node=row).count()
    if busy:
        raise Conflict(
            ngettext(
                "%(n)d job still runs on %(node)s. Drain it first; it goes on elsewhere.",
                "%(n)d jobs still run on %(node)s. Drain it first; they go on elsewhere.",
                busy,
            )
            % {"n": busy, "node": row.name},
            code="node_busy",
            details={"jobs": busy},
        )
    before = row.pool.name
    Node.objects.filter(pk=row.pk).update(pool=target)
    details = {"from": before, "to": target.name}
    record_audit(team=None, actor=user, action="node.moved", target=row.name, details=details)
    ring_once("apps.jobs.tasks.schedule")
    row.refresh_from_db()
    return row
