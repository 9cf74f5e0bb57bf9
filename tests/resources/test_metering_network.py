"""Every byte that leaves for a team counts for it, is written down about once a second, and stops at the quota."""

import asyncio
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from django.db import DatabaseError
from django.http import HttpResponse

from apps.accounts.models import Team
from apps.jobs.models import Job
from apps.registry.models import ModelVersion
from apps.registry.services import register_version
from apps.resources import metering
from apps.resources.metering import DOWNLOAD, METER, PREDICTION, Meter, add_traffic, check_egress, sent_this_month
from apps.resources.models import Traffic
from apps.resources.nodes import default_pool
from apps.resources.prices import set_price
from apps.resources.quotas import set_quota
from lepton_site.gateway import Gateway
from tests.jobs.making import make_node, make_version, run, store, submit, succeed

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
WEIGHTS = b"weights" * 30_000


@pytest.fixture(autouse=True)
def fresh(settings, tmp_path) -> Iterator[None]:
    settings.LEPTON_STORAGE_URL = f"file://{tmp_path}/storage"
    METER.take()
    yield
    METER.take()


@pytest.fixture
def version(member, tmp_path: Path) -> ModelVersion:
    files = {"model.onnx": store(tmp_path, "model.onnx", WEIGHTS), "meta.json": store(tmp_path, "meta.json", b"{}")}
    return register_version(
        team=member.team,
        user=None,
        model_name="m",
        task="image_classification",
        meta={},
        metrics={},
        lineage={},
        files=files,
    )


def limit(team: Team, size: int) -> None:
    set_quota(team=team, pool=default_pool(), resource="egress", limit=size, user=None)


def body(response: HttpResponse) -> bytes:
    return b"".join(response.streaming_content)


def traffic() -> dict:
    return {(row.team_id, row.day, row.kind): row.sent_bytes for row in Traffic.objects.all()}


def test_a_download_counts_for_the_team_byte_by_byte(member, version):
    address = f"/api/v1/models/{version.model_id}/versions/1/files/model.onnx"
    assert body(member.api.get(address)) == WEIGHTS
    assert METER.take() == {(member.team.pk, DOWNLOAD): len(WEIGHTS)}


def test_a_download_that_breaks_off_counts_as_far_as_it_came(member, version):
    response = member.page.get(f"/models/{version.model_id}/versions/1/files/model.onnx")
    next(iter(response.streaming_content))
    assert 0 < METER.take()[member.team.pk, DOWNLOAD] < len(WEIGHTS)


def test_what_the_browser_has_already_costs_nothing(member, version):
    address = f"/models/{version.model_id}/versions/1/files/model.onnx"
    etag = member.page.get(address)["ETag"]
    assert member.page.get(address, headers={"If-None-Match": etag}).status_code == 304
    assert not METER.take()


def test_a_bundle_and_pictures_count_too(member, version, tmp_path):
    bundle = body(member.page.get(f"/models/{version.model_id}/versions/1/bundle.zip"))
    assert METER.take() == {(member.team.pk, DOWNLOAD): len(bundle)}
    job: Job = succeed(run(submit(member.team, None, make_version(member.team)), make_node()), tmp_path)
    picture = body(member.page.get(f"/jobs/{job.pk}/outputs/mistakes/00.png"))
    assert METER.take() == {(member.team.pk, DOWNLOAD): len(picture)}


def test_a_download_over_the_quota_is_refused_with_the_numbers_and_pictures_are_not(member, version, tmp_path):
    job: Job = succeed(run(submit(member.team, None, make_version(member.team)), make_node()), tmp_path)
    limit(member.team, len(WEIGHTS) - 1)
    for address in ("files/model.onnx", "bundle.zip"):
        answer = member.page.get(f"/models/{version.model_id}/versions/1/{address}", headers={"Accept": "a/b"})
        assert answer.status_code == 403, address
        error = answer.json()["error"]
        assert error["code"] == "quota_exceeded" and error["details"]["limit_bytes"] == len(WEIGHTS) - 1
        assert error["details"]["used_bytes"] == 0 and error["details"]["asked_bytes"] >= len(WEIGHTS)
    assert member.page.get(f"/models/{version.model_id}/versions/1/files/meta.json").status_code == 200
    assert member.page.get(f"/jobs/{job.pk}/outputs/mistakes/00.png").status_code == 200


def test_many_threads_add_and_nothing_is_lost():
    meter = Meter()
    threads = [threading.Thread(target=lambda: [meter.add(1, PREDICTION, 3) for _ in range(2000)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert meter.take() == {(1, PREDICTION): 48_000} and meter.take() == {}


def test_a_day_adds_up_and_is_charged_as_a_whole(member, stranger):
    """Each answer alone would cost less than can be written down."""
    set_price(item="egress", amount=Decimal("0.1"), user=None)
    for _second in range(1000):
        add_traffic(sent={(member.team.pk, PREDICTION): 1000, (stranger.team.pk, DOWNLOAD): 1}, now=NOON)
    day = date(2026, 5, 1)
    assert traffic() == {(member.team.pk, day, PREDICTION): 1_000_000, (stranger.team.pk, day, DOWNLOAD): 1000}
    assert Traffic.objects.get(team=member.team).cost == Decimal("0.0001")


def test_a_team_that_is_gone_leaves_the_others_counted(member):
    add_traffic(sent={(10**9, PREDICTION): 5, (member.team.pk, PREDICTION): 7}, now=NOON)
    assert list(Traffic.objects.values_list("team_id", "sent_bytes")) == [(member.team.pk, 7)]


def test_what_cannot_be_written_is_kept_for_the_next_time(member, monkeypatch):
    def away(**_values) -> None:
        raise DatabaseError("away")

    METER.add(member.team.pk, PREDICTION, 5)
    monkeypatch.setattr(metering, "add_traffic", away)
    with pytest.raises(DatabaseError):
        METER.flush(now=NOON)
    monkeypatch.undo()
    METER.add(member.team.pk, PREDICTION, 2)
    METER.flush(now=NOON)
    assert sum(traffic().values()) == 7


def test_the_quota_counts_this_calendar_month_only(member):
    add_traffic(sent={(member.team.pk, DOWNLOAD): 900}, now=datetime(2026, 4, 30, 23, tzinfo=UTC))
    add_traffic(sent={(member.team.pk, PREDICTION): 50}, now=NOON)
    assert sent_this_month(member.team.pk, now=NOON) == 50
    limit(member.team, 0)
    with pytest.raises(Exception, match="has sent 0 B"):
        check_egress(member.team.pk)


def test_the_gateway_writes_down_what_was_sent_when_the_server_stops(member, monkeypatch):
    """The server says start, then stop; what was added in between is flushed before it has stopped."""
    flushed = []
    monkeypatch.setattr(METER, "flush", lambda: flushed.append(METER.take()))

    async def live() -> list[str]:
        said, told = [], iter(["lifespan.startup", "lifespan.shutdown"])

        async def receive() -> dict:
            METER.add(member.team.pk, PREDICTION, 4)
            return {"type": next(told)}

        async def send(message: dict) -> None:
            said.append(message["type"])

        await Gateway(None)({"type": "lifespan"}, receive, send)
        return said

    assert asyncio.run(live()) == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert flushed == [{(member.team.pk, PREDICTION): 8}]
