"""What was used and what it cost: a team sees its own, administrators see all teams', nobody sees another's."""

import csv
import io
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from apps.resources.models import Traffic
from apps.resources.periods import month_of
from tests.jobs.making import make_node, make_version, run, submit
from tests.resources.usage_made import used

pytestmark = pytest.mark.django_db


@pytest.fixture
def now():
    """Far enough into its month that an hour ago is in it too."""
    now = timezone.now()
    begun = month_of(now, timezone.get_default_timezone()).start
    return max(now, begun + timedelta(hours=3))


def html(person, query: str = "") -> str:
    response = person.page.get(f"/pool/usage/{query}")
    assert response.status_code == 200
    return response.content.decode()


def table(person, query: str = "") -> list[dict]:
    response = person.page.get(f"/pool/usage.csv{query}")
    assert response.status_code == 200 and response["Content-Type"].startswith("text/csv")
    return list(csv.DictReader(io.StringIO(response.content.decode())))


def test_a_team_that_used_nothing_is_told_what_will_be_counted(member):
    page = html(member)
    assert "Nothing was used in this period." in page and "No limit is set" in page


def test_a_team_sees_its_own_by_person_and_by_job(member, owner, stranger, now):
    used(member.team, member.user, now, hours=2, cost="3", job=(41, "Train birds"))
    used(member.team, owner.user, now, hours=1, cost="1.5", job=(42, "Train cats"))
    used(stranger.team, stranger.user, now, hours=7, cost="99", job=(43, "Secret fish"))
    page = html(member)
    assert "max" in page and "olga" in page and "€4.50" in page
    for secret in ("stefan", "Secret fish", "99.00", stranger.team.name):
        assert secret not in page and secret not in html(member, "?group=job")
    assert "Train birds" in html(member, "?group=job")
    assert [(row["name"], float(row["device_hours"])) for row in table(member, "?group=job")] == [
        ("Train birds", 2.0),
        ("Train cats", 1.0),
    ]


@pytest.mark.parametrize("path", ["/pool/usage/", "/pool/usage.csv", "/api/v1/usage/"])
def test_another_teams_usage_is_not_to_be_found(member, stranger, path):
    who = member.api if path.startswith("/api") else member.page
    for team in (stranger.team.pk, 10**17, "all", "1\0", "-1", "٣"):
        assert who.get(path, {"team": team}).status_code == 404, team
    assert who.get(path, {"team": member.team.pk}).status_code == 200


def test_administrators_see_all_teams_or_one(administrator, member, stranger, now):
    used(member.team, member.user, now, hours=2)
    used(stranger.team, stranger.user, now, hours=3)
    page = html(administrator)
    assert member.team.name in page and stranger.team.name in page and "Prices and budgets" in page
    rows = table(administrator, f"?team={member.team.pk}")
    assert [row["name"] for row in rows] == ["max"]
    assert {row["name"] for row in table(administrator)} == {member.team.name, stranger.team.name}
    assert "Prices and budgets" not in html(member)


def test_what_runs_counts_up_to_now(member):
    job = run(submit(member.team, member.user, make_version(member.team, "Owls")), make_node("one", devices=1))
    type(job.allocation).objects.update(granted_at=timezone.now() - timedelta(minutes=30))
    rows = table(member, "?group=job&period=7d")
    assert rows[0]["name"] == "Train Owls" and float(rows[0]["device_hours"]) == pytest.approx(0.5, abs=0.01)
    assert f"/jobs/{job.pk}/" in html(member, "?group=job&period=7d")


def test_storage_and_network_have_a_row_of_their_own_where_rows_are_people(member, now):
    today = timezone.localdate(now)
    Traffic.objects.create(team=member.team, day=today, kind="download", sent_bytes=5 * 10**9, cost="0.4")
    used(member.team, member.user, now, cost="1")
    rows = {row["name"]: row for row in table(member)}
    assert rows["Storage and network"]["network_out_bytes"] == "5000000000"
    assert sum(float(row["cost"]) for row in rows.values()) == pytest.approx(1.4)
    assert [row["name"] for row in table(member, "?group=day")][0] == today.isoformat()


def test_the_table_sorts_by_any_column_and_says_by_which(member, owner, now):
    used(member.team, member.user, now, hours=1, cost="9")
    used(member.team, owner.user, now, hours=5, cost="1")
    assert [row["name"] for row in table(member, "?sort=hours")] == ["max", "olga"]
    assert [row["name"] for row in table(member, "?sort=-hours")] == ["olga", "max"]
    assert [row["name"] for row in table(member, "?sort=nonsense")] == ["max", "olga"]
    assert 'aria-sort="descending"' in html(member, "?sort=-hours")


def test_a_cell_is_never_a_formula(member, now):
    used(member.team, member.user, now, job=(1, '=HYPERLINK("http://evil")'))
    assert table(member, "?group=job")[0]["name"] == '\'=HYPERLINK("http://evil")'
    used(member.team, member.user, now, job=(2, "<script>alert(1)</script>"))
    assert "<script>alert" not in html(member, "?group=job")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("?from=2026-13-01", "from"),
        ("?from=2026-05-02&to=2026-05-01", "to"),
        ("?from=2020-01-01&to=2026-01-01", "to"),
        ("?from=0001-01-01", "from"),
        ("?to=9999-12-31", "to"),
        ("?period=fortnight", "period"),
        ("?group=%3Cscript%3E", "group"),
    ],
)
def test_a_wrong_choice_is_said_and_this_month_shown(member, query, field):
    response = member.page.get(f"/pool/usage/{query}")
    assert response.status_code == 422 and "This month is shown instead." in response.content.decode()
    answer = member.api.get(f"/api/v1/usage/{query}")
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, field)


def test_days_can_be_chosen_and_both_count(member):
    used(member.team, member.user, datetime(2026, 5, 1, 12, tzinfo=UTC), hours=1)
    used(member.team, member.user, datetime(2026, 5, 3, 12, tzinfo=UTC), hours=1)
    body = member.api.get("/api/v1/usage/?from=2026-05-01&to=2026-05-02&group=day").json()
    assert (body["from"], body["to"], body["group"]) == ("2026-05-01", "2026-05-02", "day")
    assert [(row["key"], row["device_hours"]) for row in body["rows"]] == [("2026-05-01", 1.0)]


def test_programs_read_the_same(member, now):
    used(member.team, member.user, now, hours=4, busy=0.25, cost="8")
    body = member.api.get("/api/v1/usage/").json()
    assert (body["currency"], body["group"]) == ("€", "user")
    assert (body["total"]["device_hours"], body["total"]["busy_device_hours"], body["total"]["idle_cost"]) == (4, 1, 6)
    assert [(row["key"], row["name"]) for row in body["rows"]] == [(str(member.user.pk), "max")]


def test_an_administrators_program_sees_its_own_team_unless_it_asks_for_all(administrator, member, now):
    used(member.team, member.user, now)
    assert administrator.api.get("/api/v1/usage/").json()["rows"] == []
    everything = administrator.api.get("/api/v1/usage/?team=all&group=team").json()
    assert [row["name"] for row in everything["rows"]] == [member.team.name]


def test_a_person_without_a_team_is_told_so(stranger):
    stranger.membership.delete()
    response = stranger.page.get("/pool/usage/")
    assert response.status_code == 403 and "not in a team" in response.content.decode()


def test_days_begin_at_midnight_where_the_site_is(member, settings):
    settings.TIME_ZONE = "Europe/Berlin"
    used(member.team, member.user, datetime(2026, 4, 30, 23, tzinfo=UTC), hours=2)
    body = member.api.get("/api/v1/usage/?from=2026-04-01&to=2026-05-31&group=day").json()
    assert [(row["key"], row["device_hours"]) for row in body["rows"]] == [("2026-05-01", 1.0), ("2026-04-30", 1.0)]
    assert "midnight, Europe/Berlin" in html(member)
