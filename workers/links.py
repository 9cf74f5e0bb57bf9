"""The node's part in measuring links: it listens where it is to receive, and sends where another one listens.

Each runs on a thread of its own for some seconds, so that the agent goes on looking; one of each at a time.
"""

import logging
import threading
from collections.abc import Callable

from django.db import DatabaseError, connection

from apps.resources.links import links_to_open, links_to_try, make_token, open_link, record_link, record_link_error
from apps.resources.models import Node, NodeLink
from workers.linking import receive, send
from workers.sockets import listen

logger = logging.getLogger("lepton.links")

LOOPBACK = "127.0.0.1"

_threads: dict[str, threading.Thread] = {}


def supervise(node: Node) -> None:
    """One pass; never waits."""
    if not _is_busy("receive") and (link := links_to_open(node).select_related("from_node").first()):
        _run("receive", lambda: _receive(node, link))
    if not _is_busy("send") and (link := links_to_try(node).first()):
        _run("send", lambda: _send(link))


def _is_busy(what: str) -> bool:
    return what in _threads and _threads[what].is_alive()


def _run(what: str, action: Callable[[], None]) -> None:
    def run() -> None:
        try:
            action()
        except DatabaseError as error:
            logger.warning("the database does not answer: %s", error)
        finally:
            connection.close()

    _threads[what] = threading.Thread(target=run, name=f"link-{what}", daemon=True)
    _threads[what].start()


def _receive(node: Node, link: NodeLink) -> None:
    try:
        listener = listen(node.address or LOOPBACK, backlog=1)
    except OSError as error:
        record_link_error(link=link, error=str(error))
        return
    token = make_token()
    if not open_link(link=link, port=listener.getsockname()[1], token=token):
        listener.close()
        return
    if not receive(listener, token):
        record_link_error(link=link, error=f"{link.from_node.name} did not come")


def _send(link: NodeLink) -> None:
    try:
        speed = send(link.to_node.address or LOOPBACK, link.port, link.token)
    except OSError as error:
        record_link_error(link=link, error=str(error))
        return
    record_link(link=link, bytes_per_second=speed.bytes_per_second, rtt_seconds=speed.rtt_seconds)
