"""Bytes that leave the site for a team: added up in memory where they are sent, written down about once a second.

Nothing but an addition happens where bytes are sent. The web server's gateway flushes METER; a process that is killed
loses what it has sent in its last second.
"""

import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from django.db import connection
from django.db.models import Sum
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.core.errors import QuotaExceeded
from apps.core.templatetags.lepton import in_bytes
from apps.resources.models import Price, Quota, Traffic
from apps.resources.periods import month_of
from apps.resources.quotas import limit_of
from apps.resources.storage_use import storage_numbers

FLUSH_SECONDS = 1.0
DOWNLOAD, PREDICTION = Traffic.Kind.DOWNLOAD.value, Traffic.Kind.PREDICTION.value
Sent = Mapping[tuple[int, str], int]


class Meter:
    """Counts bytes by (team id, kind) until they are taken away. Any thread may add."""

    def __init__(self) -> None:
        self._sent: dict[tuple[int, str], int] = defaultdict(int)
        self._lock = threading.Lock()

    def add(self, team_id: int, kind: str, size_bytes: int) -> None:
        with self._lock:
            self._sent[team_id, kind] += size_bytes

    def take(self) -> Sent:
        with self._lock:
            taken, self._sent = self._sent, defaultdict(int)
        return taken

    def flush(self, *, now: datetime | None = None) -> None:
        """Write down what was added since the last time; what cannot be written is kept for the next."""
        taken = self.take()
        if not taken:
            return
        try:
            add_traffic(sent=taken, now=now or timezone.now())
        except Exception:
            for (team_id, kind), size_bytes in taken.items():
                self.add(team_id, kind, size_bytes)
            raise


METER = Meter()


def add_traffic(*, sent: Sent, now: datetime) -> None:
    """Add to today's rows, in one statement; a team that is gone is left out.

    A day is charged as a whole at the price that held last: single answers are worth less than can be written down.
    """
    today = now.astimezone(timezone.get_default_timezone()).date()
    rows = sorted((team_id, kind, size) for (team_id, kind), size in sent.items() if size)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO resources_traffic AS t (team_id, day, kind, sent_bytes, cost) "
            "SELECT v.team, %(day)s, v.kind, v.sent, v.sent * price.per_byte "
            "FROM unnest(%(teams)s::bigint[], %(kinds)s::text[], %(sent)s::bigint[]) AS v(team, kind, sent) "
            "JOIN accounts_team a ON a.id = v.team CROSS JOIN (SELECT coalesce(max(amount), 0) / 1e9 AS per_byte "
            "FROM resources_price WHERE item = %(item)s AND device_name = '') price "
            "ORDER BY v.team, v.kind "
            "ON CONFLICT (team_id, day, kind) DO UPDATE SET sent_bytes = t.sent_bytes + excluded.sent_bytes, "
            "cost = (t.sent_bytes + excluded.sent_bytes) * (SELECT coalesce(max(amount), 0) / 1e9 "
            "FROM resources_price WHERE item = %(item)s AND device_name = '')",
            {
                "day": today,
                "teams": [team_id for team_id, _kind, _size in rows],
                "kinds": [kind for _team_id, kind, _size in rows],
                "sent": [size for _team_id, _kind, size in rows],
                "item": Price.Item.EGRESS.value,
            },
        )


def sent_this_month(team_id: int, *, now: datetime | None = None) -> int:
    """Bytes that have left for the team since the first of this month."""
    zone = timezone.get_default_timezone()
    first = month_of(now or timezone.now(), zone).start.astimezone(zone).date()
    return Traffic.objects.filter(team=team_id, day__gte=first).aggregate(n=Sum("sent_bytes"))["n"] or 0


def check_egress(team_id: int, asked_bytes: int = 0) -> None:
    """Whether so much more may leave for the team this month. Raises QuotaExceeded with the numbers."""
    limit = limit_of(team_id, Quota.Resource.EGRESS)
    if limit is None:
        return
    used = sent_this_month(team_id)
    if used + asked_bytes > limit or used >= limit:
        raise QuotaExceeded(
            _(
                "Your team may send %(limit)s over the network in a month and has sent %(used)s. "
                "It goes on next month, or when an administrator raises the limit."
            )
            % {"limit": in_bytes(limit), "used": in_bytes(used)},
            details=storage_numbers(asked_bytes, used, limit),
        )


def metered(request: HttpRequest, response: HttpResponseBase, *, size_bytes: int = 0) -> HttpResponseBase:
    """The stored file in `response`, counted for the request's team as it is sent. `size_bytes` is about how large an
    answer without a declared length will be.

    A download that goes over the team's quota is refused; pictures that pages show are counted and sent.
    """
    if not response.streaming:
        return response  # the browser has it already
    team_id = request.team.pk
    if response.get("Content-Disposition", "").startswith("attachment"):
        try:
            check_egress(team_id, int(response.get("Content-Length") or size_bytes))
        except QuotaExceeded:
            _close_file(response)
            raise
    response.streaming_content = _counted(team_id, response.streaming_content)
    return response


def _close_file(response: HttpResponseBase) -> None:
    """Of an answer that is not sent. Its own close() would tell Django that the request is over."""
    file = getattr(response, "file_to_stream", None)
    if file is not None:
        file.close()


def _counted(team_id: int, blocks: Iterable[bytes]) -> Iterator[bytes]:
    for block in blocks:
        METER.add(team_id, DOWNLOAD, len(block))
        yield block
