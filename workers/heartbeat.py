"""The node's heartbeat: on a thread of its own, so that no slow work of the agent makes the machine look dead.

Each beat looks at the machine and says what is wrong with it. A second thread sees whether storage answers, because a
dead network folder lets nobody go who asks for it.
"""

import logging
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from django.conf import settings
from django.db import DatabaseError, close_old_connections, connection
from django.utils.translation import gettext as _

from apps.core.errors import Conflict
from apps.core.kept import load_or_make
from apps.core.storage import check_reachable
from apps.core.version import code_version
from apps.resources.health import find_problems
from apps.resources.models import Node
from apps.resources.nodes import BEAT_SECONDS, beat_node, drop_gone_devices, register_node
from workers.devices import address_towards, machine_facts
from workers.measuring import Measured, Measurer

logger = logging.getLogger("lepton.heartbeat")

STORAGE_EVERY_SECONDS = 30.0
STORAGE_SILENT_SECONDS = 20.0


def machine_id() -> str:
    """What tells this machine from another one that was given the same name."""
    return load_or_make(settings.LEPTON_HOME / "machine_id", lambda: uuid.uuid4().hex)


def node_address() -> str:
    """Where the other machines of the pool reach this one: as was set, or the address by which it reaches the site's
    database."""
    host = unquote(urlsplit(settings.DATABASE_URL).hostname or "")
    is_here = host in ("", "localhost") or host.startswith("/")
    return settings.LEPTON_NODE_ADDRESS or address_towards("127.0.0.1" if is_here else host)


class StorageWatch:
    """Asks storage again and again whether it is there."""

    def __init__(self, stopping: threading.Event) -> None:
        self.stopping = stopping
        self.error = ""
        self.asked_at: float | None = None
        self.thread = threading.Thread(target=self._loop, name="storage-watch", daemon=True)

    def what_is_wrong(self, *, now: float) -> str:
        asked_at = self.asked_at
        if asked_at is not None and now - asked_at > STORAGE_SILENT_SECONDS:
            return _("it has not answered for %(n)d seconds") % {"n": now - asked_at}
        return self.error

    def _loop(self) -> None:
        while not self.stopping.is_set():
            self.asked_at = time.monotonic()
            try:
                check_reachable(settings.LEPTON_STORAGE_URL, may_make=not settings.JOINED)
                self.error = ""
            except Exception as error:  # every kind of storage has exceptions of its own
                self.error = str(error)[:200] or type(error).__name__
            self.asked_at = None
            self.stopping.wait(STORAGE_EVERY_SECONDS)


class Heartbeat:
    """Registers the node `name` and beats for it until `stopping`. `node` is None until it has registered; when the
    node may not work any more, `on_refused` is called with the reason, once."""

    def __init__(
        self, name: str, folder: Path, *, stopping: threading.Event, on_refused: Callable[[str], None]
    ) -> None:
        self.name, self.folder = name, folder
        self.stopping, self.on_refused = stopping, on_refused
        self.node: Node | None = None
        self.expected: set[tuple[str, int]] = set()
        self.present: set[tuple[str, int]] = set()
        self.measurer = Measurer(folder)
        self.storage = StorageWatch(stopping)
        self.thread = threading.Thread(target=self._loop, name="heartbeat", daemon=True)

    def start(self) -> None:
        self.storage.thread.start()
        self.thread.start()

    def _loop(self) -> None:
        while not self.stopping.is_set():
            began = time.monotonic()
            try:
                if refusal := self.beat():
                    self.on_refused(refusal)
                    break
            except DatabaseError as error:
                logger.warning("the database does not answer: %s", error)
            except Exception:
                logger.exception("the heartbeat goes on after an error")
            close_old_connections()
            self.stopping.wait(max(0.0, BEAT_SECONDS - (time.monotonic() - began)))
        connection.close()

    def beat(self) -> str:
        """One beat; returns why this agent must leave, "" while it may stay."""
        if self.node is None:
            facts = machine_facts(self.folder) | {"address": node_address()}
            try:
                self.node = register_node(name=self.name, facts=facts, machine_id=machine_id())
            except Conflict as refused:
                return refused.message
            self.present = {(device["kind"], device["index"]) for device in facts["devices"]}
            self.expected = set(self.node.devices.values_list("kind", "index"))
        measured = self.measurer.look()
        is_ours = beat_node(
            node=self.node,
            devices=measured.devices,
            storage_bytes=measured.storage_bytes,
            storage_free_bytes=measured.storage_free_bytes,
            network_in_bytes_per_second=measured.network_in,
            network_out_bytes_per_second=measured.network_out,
            health=self._health(measured),
        )
        if self.expected - self.present:
            drop_gone_devices(node=self.node, present=self.present)
        return "" if is_ours else _("The machine %(name)s is no longer part of the pool.") % {"name": self.name}

    def _health(self, measured: Measured) -> dict:
        problems = find_problems(
            measured,
            folder=str(settings.LEPTON_HOME),
            expected=self.expected,
            clock_skew_seconds=clock_skew(),
            storage_error=self.storage.what_is_wrong(now=time.monotonic()),
        )
        return {
            "problems": [problem.as_dict() for problem in problems],
            "load": {
                "per_core": round(measured.load_per_core, 2),
                "memory_used_bytes": measured.memory_bytes - measured.memory_available_bytes,
                "memory_bytes": measured.memory_bytes,
            },
            "temperatures": {f"{use.kind}-{use.index}": use.temperature for use in measured.devices if use.temperature},
            "version": code_version(),
        }


def clock_skew() -> float:
    """How many seconds this machine's clock is ahead of the database's; half of the way there is taken off."""
    sent = time.time()
    with connection.cursor() as cursor:
        cursor.execute("SELECT extract(epoch FROM clock_timestamp())")
        answered = float(cursor.fetchone()[0])
    return (sent + time.time()) / 2 - answered
