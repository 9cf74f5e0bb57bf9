"""What happened to a deployment, as one list: its traffic, its number of replicas, and each replica."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.translation import gettext as _

from apps.deployments.models import Deployment, Replica, ScalingEvent, TrafficChange
from apps.deployments.replication import said_of

MOST_EVENTS = 100


@dataclass(frozen=True)
class Event:
    """`kind` is one of TrafficChange.Kind, "scaled", or replica_created, _ready, _stopped or _failed. `made_by` is None
    where the site did it by itself; `replica` is the id of the replica that it is about."""

    at: datetime
    kind: str
    message: str
    made_by: str | None = None
    replica: int | None = None


def events_of(deployment: Deployment) -> list[Event]:
    """The newest MOST_EVENTS, newest first. Replicas that ended long ago are forgotten."""
    changes = deployment.traffic_changes.select_related("made_by")[:MOST_EVENTS]
    scalings = deployment.scaling_events.select_related("made_by")[:MOST_EVENTS]
    found = [*map(_of_traffic, changes), *map(_of_scaling, scalings)]
    for replica in Replica.objects.filter(deployment=deployment).select_related("version", "node"):
        found += _of_replica(replica)
    return sorted(found, key=lambda event: event.at, reverse=True)[:MOST_EVENTS]


def _of_traffic(change: TrafficChange) -> Event:
    shares = ", ".join(f"{share['weight']} % v{share['version']}" for share in change.shares)
    message = f"{change.get_kind_display()}: {shares}. {change.reason}".rstrip()
    return Event(change.at, change.kind, message, _who(change))


def _of_scaling(event: ScalingEvent) -> Event:
    return Event(event.at, "scaled", f"{event.before} → {event.after}. {event.reason}".rstrip(), _who(event))


def _who(change: Any) -> str | None:
    return change.made_by.username if change.made_by else None


def _of_replica(replica: Replica) -> Iterator[Event]:
    words = {"version": replica.version.number, "node": replica.node.name if replica.node else "–"}
    yield _about(replica, replica.created_at, "created", _("A replica of version %(version)d was asked for.") % words)
    if replica.ready_at:
        ready = _("A replica of version %(version)d answers on %(node)s.") % words
        yield _about(replica, replica.ready_at, "ready", ready)
    if replica.ended_at and replica.status == Replica.Status.FAILED:
        failed = _("A replica of version %(version)d failed on %(node)s.") % words
        yield _about(replica, replica.ended_at, "failed", f"{failed} {said_of(replica)}".rstrip())
    elif replica.ended_at:
        stopped = _("A replica of version %(version)d was stopped on %(node)s.") % words
        yield _about(replica, replica.ended_at, "stopped", stopped)


def _about(replica: Replica, at: datetime, what: str, message: str) -> Event:
    return Event(at, f"replica_{what}", message, replica=replica.pk)
