"""A team has some of the requests written down: when, how long, what was answered, and what was sent if it wants."""

import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import cycle

import pytest
from django.utils import timezone

from apps.deployments import request_log
from apps.deployments.models import Deployment, LoggedRequest
from apps.deployments.request_log import REQUEST_LOG, LogRule, RequestLog, forget_old_requests, write_requests
from apps.resources.models import Quota
from apps.resources.nodes import default_pool
from apps.resources.quotas import set_quota
from apps.resources.storage_use import storage_bytes
from tests.deployments.conftest import store_model
from tests.deployments.serving import served
from tests.inference.models import png, table_model
from tests.inference.processes import serve
from workers.inference.framing import JSON, RAW, Question

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("gateway")]

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ROW = {"row": {"age": 58, "city": "=Rome"}}


@pytest.fixture(scope="module")
def socket(tmp_path_factory) -> Iterator[str]:
    yield from serve(tmp_path_factory.mktemp("table"), table_model)


@pytest.fixture
def ages(owner, tmp_path, socket) -> Deployment:
    REQUEST_LOG.take()
    return served(owner, store_model(owner, table_model(tmp_path / "ages"), "ages"), socket, "ages")


def note(log: RequestLog, rule: LogRule, deployment_id: int = 1, body: bytes = b"{}", content: str = JSON) -> None:
    log.note(
        rule, deployment_id, Question(content, body), at=NOW, version=3, status=200, seconds=0.002,
        answer=b'{"class": "old"}',
    )  # fmt: skip


def test_nothing_is_written_down_unless_the_team_wants_it(site, owner, ages):
    assert site("POST", "/v1/models/ages/predict", owner.secret, json=ROW).status_code == 200
    assert REQUEST_LOG.take() == []


def test_from_the_page_to_the_log_and_its_download(site, owner, ages):
    rules = {"percent": "100", "days": "3", "has_inputs": "on"}
    assert owner.page.post(f"/deployments/{ages.pk}/requests/rules/", rules).status_code == 302
    site("POST", "/v1/models/ages/predict", owner.secret, json=ROW)
    site("POST", "/v1/models/ages/explain", owner.secret, json=ROW)
    assert site("POST", "/v1/models/ages/predict", owner.secret, json={"row": {}}).status_code == 422
    REQUEST_LOG.flush()
    page = owner.page.get(f"/deployments/{ages.pk}/requests/").content.decode()
    assert page.count('<td class="tabular') == 3 and "422" in page and "explained" in page and "=Rome" in page
    assert "See 3 requests" in owner.page.get(f"/deployments/{ages.pk}/").content.decode()
    file = owner.page.get(f"/deployments/{ages.pk}/requests/csv/")
    rows = list(csv.DictReader(io.StringIO(b"".join(file).decode())))
    assert [(row["verb"], row["status"], row["version"]) for row in rows] == [
        ("predict", "200", "1"), ("explain", "200", "1"), ("predict", "422", "1"),
    ]  # fmt: skip
    assert json.loads(rows[0]["answer"])["class"] == "old" and float(rows[0]["seconds"]) > 0
    lines = b"".join(owner.page.get(f"/deployments/{ages.pk}/requests/jsonl/")).splitlines()
    assert json.loads(json.loads(lines[0])["input"]) == ROW
    told = owner.api.get(f"/api/v1/deployments/{ages.pk}/requests/").json()["results"]
    assert [row["status"] for row in told] == [422, 200, 200]


def test_what_was_sent_is_kept_only_if_chosen_and_not_too_large():
    log = RequestLog(choose=lambda: 0.0)
    note(log, LogRule(100.0, has_inputs=False))
    note(log, LogRule(100.0, has_inputs=True))
    note(log, LogRule(100.0, has_inputs=True), body=b" " * (request_log.MOST_INPUT_BYTES + 1))
    note(log, LogRule(100.0, has_inputs=True), body=b"tensors", content="tensors")
    assert [row.input for row in log.take()] == [None, b"{}", None, None]


def test_so_many_percent_of_the_requests_are_picked():
    log = RequestLog(choose=cycle(number / 100 for number in range(100)).__next__)
    for _ in range(100):
        note(log, LogRule(25.0))
    assert len(log.take()) == 25


def test_what_comes_too_fast_is_left_out_and_not_waited_for(monkeypatch):
    monkeypatch.setattr(request_log, "MOST_WAITING", 3)
    log = RequestLog(choose=lambda: 0.0)
    for _ in range(5):
        note(log, LogRule(100.0))
    assert log.left_out == 2 and len(log.take()) == 3 and log.left_out == 0


def kept(deployment: Deployment, count: int, at: datetime = NOW) -> list[LoggedRequest]:
    log = RequestLog(choose=lambda: 0.0)
    for _ in range(count):
        note(log, LogRule(100.0), deployment.pk)
    rows = log.take()
    for row in rows:
        row.at = at
    write_requests(rows)
    return rows


def test_it_is_kept_for_so_many_days_and_no_longer(ages, monkeypatch):
    Deployment.objects.update(logged_days=2)
    kept(ages, 2, NOW - timedelta(days=3))
    kept(ages, 3, NOW - timedelta(days=1))
    assert forget_old_requests(now=NOW) == 2 and ages.logged_requests.count() == 3
    monkeypatch.setattr(request_log, "MOST_ROWS", 2)
    assert forget_old_requests(now=NOW) == 1 and ages.logged_requests.count() == 2


def test_it_goes_with_the_deployment_and_what_comes_after_is_dropped(owner, ages):
    rows = kept(ages, 2)
    owner.page.post(f"/deployments/{ages.pk}/delete/")
    assert not LoggedRequest.objects.exists()
    write_requests(rows)
    assert not LoggedRequest.objects.exists()


def test_one_that_is_deleted_at_that_moment_takes_no_other_request_with_it(owner, ages, monkeypatch):
    other = served(owner, ages.version, "/nowhere", "other")

    def meanwhile(_team, _count) -> None:
        Deployment.objects.filter(pk=ages.pk).delete()

    log = RequestLog(choose=lambda: 0.0)
    for deployment in (ages, other):
        note(log, LogRule(100.0), deployment.pk)
    monkeypatch.setattr(request_log, "check_storage", meanwhile)
    write_requests(log.take())
    assert other.logged_requests.count() == 1


def test_it_counts_as_storage_and_stops_where_that_is_full(owner, administrator, ages):
    before = storage_bytes(owner.team)
    rows = kept(ages, 5)
    assert storage_bytes(owner.team) == before + sum(row.kept_bytes for row in rows)
    set_quota(
        team=owner.team, pool=default_pool(), resource=Quota.Resource.STORAGE, limit=storage_bytes(owner.team),
        user=administrator.user,
    )  # fmt: skip
    kept(ages, 5)
    assert ages.logged_requests.count() == 5


def test_it_can_be_deleted_at_once(owner, ages):
    kept(ages, 4)
    owner.page.post(f"/deployments/{ages.pk}/requests/clear/")
    assert not ages.logged_requests.exists()


def test_a_viewer_is_offered_the_log_only_when_there_is_something_to_see(owner, viewer, ages):
    path = f"/deployments/{ages.pk}/"
    assert "Set up the log" in owner.page.get(path).content.decode()
    assert "Set up the log" not in viewer.page.get(path).content.decode()
    kept(ages, 2)
    assert "See 2 requests" in viewer.page.get(path).content.decode()


def test_of_another_team_nothing_is_seen_or_changed(owner, viewer, stranger, ages):
    kept(ages, 1)
    path = f"/deployments/{ages.pk}/requests/"
    for address in (path, f"{path}csv/", f"{path}jsonl/"):
        assert stranger.page.get(address).status_code == 404
        assert viewer.page.get(address).status_code == 200
    rules = {"percent": "100", "days": "3"}
    assert stranger.page.post(f"{path}rules/", rules).status_code == 404
    assert viewer.page.post(f"{path}rules/", rules).status_code == 403
    assert viewer.page.post(f"{path}clear/").status_code == 403
    assert stranger.api.get(f"/api/v1/deployments/{ages.pk}/requests/").status_code == 404
    assert owner.page.get(f"{path}xml/").status_code == 404


@pytest.mark.parametrize("rules", [{"percent": 101, "days": 7}, {"percent": 5, "days": 0}, {"percent": 5, "days": 400}])
def test_a_rule_out_of_range_is_refused(owner, ages, rules):
    assert owner.page.post(f"/deployments/{ages.pk}/requests/rules/", rules).status_code == 422
    api = f"/api/v1/deployments/{ages.pk}/requests/"
    assert owner.api.put(api, rules, content_type="application/json").status_code == 422
    assert owner.api.put(api, {"percent": 5}, content_type="application/json").json() == {
        "percent": 5.0, "days": 7, "inputs": False,
    }  # fmt: skip


def test_a_picture_that_was_sent_is_shown(owner, ages):
    log = RequestLog(choose=lambda: 0.0)
    note(log, LogRule(100.0, has_inputs=True), ages.pk, png(), RAW)
    write_requests(log.take())
    assert timezone.is_aware(ages.logged_requests.get().at)
    assert "data:image/png;base64," in owner.page.get(f"/deployments/{ages.pk}/requests/").content.decode()
    assert b"base64:" in b"".join(owner.page.get(f"/deployments/{ages.pk}/requests/jsonl/"))
