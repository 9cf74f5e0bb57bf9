"""Administrators change what a team was promised in the table itself; everybody else sees what is left of the own."""

import pytest

from apps.accounts.models import AuditEvent
from apps.resources.models import Pool, Quota, Share
from apps.resources.nodes import default_pool
from apps.resources.quotas import Promise, promises_of, set_quota
from tests.jobs.making import make_node

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}


def url(team, what: str) -> str:
    return f"/pool/quotas/{team.slug}/{what}/"


def html(person, address: str = "/pool/quotas/") -> str:
    return person.page.get(address).content.decode()


def test_a_cell_opens_and_saves_in_human_units(administrator, team):
    opened = administrator.page.get(url(team, "memory"), headers=HTMX).content.decode()
    assert "<form" in opened and "Guaranteed (GB)" in opened and "<html" not in opened
    values = {"guaranteed": "64", "limit": "1.5 TB", "user_limit": ""}
    saved = administrator.page.post(url(team, "memory"), values, headers=HTMX)
    assert saved.status_code == 200 and "64 GB guaranteed" in saved.content.decode()
    assert saved["HX-Trigger"] == "quotas-changed"
    assert promises_of(team)["memory"] == Promise(64 * 10**9, 1500 * 10**9, None)
    event = AuditEvent.objects.get(action="quota.changed")
    assert (event.actor, event.team, event.details["resource"]) == (administrator.user, team, "memory")


def test_escape_closes_the_cell_as_it_was(administrator, team):
    closed = administrator.page.get(f"{url(team, 'devices')}?closed=1", headers=HTMX).content.decode()
    assert "<form" not in closed and closed.lstrip().startswith("<td")


def test_without_javascript_it_is_a_page_and_a_redirect(administrator, team):
    page = administrator.page.get(url(team, "jobs")).content.decode()
    assert "<html" in page and 'name="limit"' in page and 'name="guaranteed"' not in page
    answer = administrator.page.post(url(team, "jobs"), {"limit": "4"})
    assert (answer.status_code, answer.url) == (302, "/pool/quotas/?pool=default")
    assert promises_of(team)["jobs"].limit == 4


@pytest.mark.parametrize(
    ("what", "values", "sentence"),
    [
        ("devices", {"limit": "many"}, "Give a number such as 4 or 1.5"),
        ("devices", {"limit": "-1"}, "Give a number such as 4 or 1.5"),
        ("devices", {"limit": "1.5"}, "Give a whole number."),
        ("devices", {"limit": "9" * 30}, "Give a number such as 4 or 1.5"),
        ("storage", {"limit": "3 apples"}, "Write one of these units"),
        ("cpu", {"guaranteed": "8", "limit": "4"}, "cannot be more than the limit"),
        ("weight", {"weight": "0"}, "between 0.001 and 1000"),
        ("weight", {"weight": "nan"}, "Enter a number"),
        ("jobs", {"limit": "1\x00"}, "Null characters are not allowed"),
    ],
)
def test_what_is_wrong_stands_beside_the_field(administrator, team, what, values, sentence):
    answer = administrator.page.post(url(team, what), values, headers=HTMX)
    assert answer.status_code == 422
    assert answer["HX-Retarget"] == f"#quota-{team.pk}-{what}"
    assert sentence in answer.content.decode()
    assert not Quota.objects.exists()


def test_a_weight_is_changed_in_place(administrator, team):
    answer = administrator.page.post(url(team, "weight"), {"weight": "2.5"}, headers=HTMX)
    assert answer.status_code == 200 and Share.objects.get(team=team).weight == 2.5


def test_guarantees_beyond_the_pool_are_warned_of_and_not_refused(administrator, team, stranger):
    make_node("one", devices=8)
    for one, promised in ((team, 8), (stranger.team, 4)):
        set_quota(team=one, pool=default_pool(), resource="devices", user=None, guaranteed=promised)
    assert "12 devices are guaranteed, the pool has 8." in html(administrator)
    part = administrator.page.get("/pool/quotas/", headers={**HTMX, "HX-Target": "quota-warnings"}).content.decode()
    assert "12 devices" in part and "<table" not in part


def test_who_is_no_administrator_sees_the_own_team_only(member, team, stranger):
    set_quota(team=team, pool=default_pool(), resource="devices", user=None, limit=3)
    seen = html(member)
    assert team.name in seen and stranger.team.name not in seen and "quota-open" not in seen
    assert member.page.get(url(team, "devices")).status_code == 403
    assert member.page.post(url(team, "devices"), {"limit": "99"}).status_code == 403
    assert member.page.post(url(stranger.team, "devices"), {"limit": "99"}).status_code == 404
    assert promises_of(team)["devices"].limit == 3


def test_a_name_with_html_is_text(administrator, stranger):
    stranger.team.name = "<script>alert(1)</script>"
    stranger.team.save()
    assert "<script>alert" not in html(administrator)


def test_each_pool_has_its_own_promises(administrator, team):
    other = Pool.objects.create(name="teaching")
    administrator.page.post(url(team, "devices"), {"limit": "2", "pool": "teaching"}, headers=HTMX)
    assert promises_of(team, other)["devices"].limit == 2
    assert promises_of(team)["devices"].limit is None
    assert administrator.page.get(f"{url(team, 'storage')}?pool=teaching").status_code == 404
    assert administrator.page.get("/pool/quotas/?pool=%00").status_code == 404


def test_programs_read_the_own_team_and_administrators_all(member, administrator, team):
    set_quota(team=team, pool=default_pool(), resource="devices", user=None, guaranteed=1, limit=3)
    rows = member.api.get("/api/v1/quotas/").json()["results"]
    assert {row["team"] for row in rows} == {team.slug}
    devices = next(row for row in rows if row["resource"] == "devices")
    assert (devices["guaranteed"], devices["limit"], devices["used"], devices["left"]) == (1, 3, 0, 3)
    every = administrator.api.get("/api/v1/quotas/").json()["results"]
    assert {row["team"] for row in every} == {team.slug, administrator.team.slug}


def test_programs_of_administrators_change_a_quota(administrator, member, team, stranger):
    address = f"/api/v1/quotas/{team.slug}/devices/"
    body = {"guaranteed": 2, "limit": 4}
    answer = administrator.api.put(address, body, content_type="application/json")
    assert answer.status_code == 200 and answer.json()["limit"] == 4
    assert promises_of(team)["devices"] == Promise(2, 4, None)
    assert member.api.put(address, body, content_type="application/json").status_code == 403
    assert stranger.api.put(address, body, content_type="application/json").status_code == 404
    wrong = administrator.api.put(address, {"guaranteed": 5, "limit": 4}, content_type="application/json")
    assert (wrong.status_code, wrong.json()["error"]["field"]) == (422, "guaranteed")
    unknown = administrator.api.put(f"/api/v1/quotas/{team.slug}/love/", body, content_type="application/json")
    assert unknown.json()["error"]["code"] == "unknown_resource"
