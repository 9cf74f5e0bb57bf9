"""Deployments that scale by themselves: ask scaling.py, change the number of replicas, and write down why."""

import contextlib
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict

from django.db import transaction
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from redis.exceptions import RedisError

from apps.accounts.models import User
from apps.core.errors import NotFound
from apps.core.valkey import valkey
from apps.deployments import in_flight
from apps.deployments.counting import figures_lately
from apps.deployments.models import Deployment, Replica
from apps.deployments.placing import reconcile_one
from apps.deployments.rollouts import locked, shares_of
from apps.deployments.scaling import Decision, Load, Memory, Rule, Why, decide
from apps.deployments.traffic import WHOLE
from apps.resources.snapshots import database_time

LATENCY_SECONDS = 20
LOOK_SECONDS = 0.9  # several agents look; more often than this none decides
MEMORY_SECONDS = 30 * 24 * 3600
KEPT_EVENTS = 200

logger = logging.getLogger(__name__)


def scale_deployments() -> None:
    """Let every deployment that scales by itself follow its load. What cannot be read now is read the next time."""
    scaled = list(Deployment.objects.filter(max_replicas__isnull=False).prefetch_related("canaries"))
    if not scaled:
        return
    try:
        loads = in_flight.read()
        now = database_time().timestamp()
        for deployment in scaled:
            scale(deployment, loads, now=now)
    except RedisError:
        logger.warning("the load of the deployments cannot be read", exc_info=True)


def scale(deployment: Deployment, loads: Mapping[int, float], *, now: float) -> None:
    """`loads` are the requests in flight by deployment, `now` the database's time. Raises redis.RedisError."""
    memory = _recall(deployment, now)
    if memory.loads and now - memory.loads[-1][0] < LOOK_SECONDS:
        return
    load = _load_of(deployment, loads.get(deployment.pk, 0.0))
    decision = decide(rule_of(deployment), memory, load, replicas=deployment.wanted_replicas, now=now)
    if decision.why is None or _apply(deployment, decision, _reason(deployment, decision, load)):
        _keep(deployment, decision.memory)


def rule_of(deployment: Deployment) -> Rule:
    """Of one that scales by itself."""
    limit = deployment.target_latency_ms
    return Rule(
        min_replicas=deployment.min_replicas,
        max_replicas=deployment.max_replicas,
        in_flight=deployment.target_in_flight,
        latency_seconds=limit / 1000 if limit else None,
        idle_seconds=deployment.idle_minutes * 60.0,
    )


def _load_of(deployment: Deployment, requests: float) -> Load:
    """The stable version's part of it; canaries have the replicas that people gave them."""
    share = shares_of(deployment)[0].weight / WHOLE
    if not deployment.target_latency_ms:
        return Load(requests * share)
    version_id = deployment.version_id
    figures = figures_lately(deployment.pk, [version_id], now=time.time(), seconds=LATENCY_SECONDS)[version_id]
    ready = deployment.replicas.filter(version=version_id, status=Replica.Status.READY).count()
    return Load(requests * share, figures.p95_seconds, ready)


# What one look leaves for the next


def _memory_key(deployment: Deployment) -> str:
    return f"serving:{deployment.pk}:scaling"


def _recall(deployment: Deployment, now: float) -> Memory:
    """A fresh one where nothing is kept, or what another version of this code kept: windows then begin anew."""
    try:
        fields = json.loads(valkey().get(_memory_key(deployment)) or "{}")
        pairs = {name: tuple((at, value) for at, value in fields.pop(name)) for name in ("loads", "wishes")}
        return Memory(**fields, **pairs)
    except (ValueError, KeyError, TypeError):
        return Memory.fresh(now)


def _keep(deployment: Deployment, memory: Memory) -> None:
    valkey().set(_memory_key(deployment), json.dumps(asdict(memory)), ex=MEMORY_SECONDS)


def forget_load(deployment: Deployment) -> None:
    """Before it follows its load anew: what is remembered of a time without requests would put it to sleep."""
    with contextlib.suppress(RedisError):
        valkey().delete(_memory_key(deployment))


# Change and write down


@transaction.atomic
def _apply(deployment: Deployment, decision: Decision, reason: str) -> bool:
    """False where somebody else has changed the deployment meanwhile, or deleted it."""
    try:
        row = locked(deployment)
    except NotFound:
        return False
    if row.wanted_replicas != deployment.wanted_replicas or row.max_replicas is None:
        return False
    set_replicas(row, decision.replicas, user=None, reason=reason)
    return True


def set_replicas(row: Deployment, count: int, *, user: User | None, reason: str = "") -> None:
    """Inside a transaction, for a locked row: want `count` replicas, and say so on the page."""
    before, row.wanted_replicas = row.wanted_replicas, count
    if before == count:
        return
    row.save(update_fields=["wanted_replicas"])
    note_scaling(row, before, user=user, reason=reason)
    reconcile_one(row.pk)


def note_scaling(row: Deployment, before: int, *, user: User | None, reason: str = "") -> None:
    """The number of replicas was `before`; the oldest events are forgotten."""
    row.scaling_events.create(before=before, after=row.wanted_replicas, made_by=user, reason=reason)
    kept = row.scaling_events.values_list("id", flat=True)[:KEPT_EVENTS]
    row.scaling_events.exclude(pk__in=list(kept)).delete()


@transaction.atomic
def wake_deployment(deployment_id: int) -> None:
    """Somebody asks a deployment that sleeps: want a replica at once, and wake the machine that gets it."""
    deployment = Deployment.objects.filter(pk=deployment_id).first()
    if deployment is None or deployment.wanted_replicas or not deployment.may_sleep:
        return
    row = locked(deployment)
    if row.may_sleep and not row.wanted_replicas:
        set_replicas(row, 1, user=None, reason=_("A request came while it slept."))
        forget_load(row)


def _reason(deployment: Deployment, decision: Decision, load: Load) -> str:
    words = {
        "n": f"{decision.in_flight:.1f}",
        "target": f"{deployment.target_in_flight:g}",
        "before": deployment.wanted_replicas,
        "min": deployment.min_replicas,
        "max": deployment.max_replicas,
        "minutes": deployment.idle_minutes,
        "p95": f"{(load.p95_seconds or 0) * 1000:.0f}",
        "limit": deployment.target_latency_ms,
    }
    return _sentence(decision.why, deployment) % words


def _sentence(why: Why, deployment: Deployment) -> str:
    match why:
        case Why.BOUNDS:
            return _("It may have %(min)d to %(max)d replicas.")
        case Why.WOKEN:
            return _("%(n)s requests were in flight while it slept.")
        case Why.PANIC:
            return _("%(n)s requests were in flight, at least twice what it is meant for (%(before)d × %(target)s).")
        case Why.LOAD:
            return _("%(n)s requests were in flight over 10 seconds; one replica is meant for %(target)s.")
        case Why.LATENCY:
            return _("1 of 20 answers took %(p95)s ms or longer; %(limit)d ms is the limit.")
        case Why.QUIET:
            return _("For 2 minutes fewer replicas would have been enough; %(n)s requests were in flight of late.")
        case Why.IDLE:
            return ngettext(
                "Nobody has asked for %(minutes)d minute.",
                "Nobody has asked for %(minutes)d minutes.",
                deployment.idle_minutes,
            )
