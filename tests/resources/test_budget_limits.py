"""A budget or the hours of a month are spent: nothing new starts, what runs goes on, and it is said in time."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.accounts.models import AuditEvent
from apps.core.errors import QuotaExceeded, Unprocessable
from apps.jobs.models import Job
from apps.jobs.services import submit_prepare
from apps.resources.accounting import cost_this_month, device_seconds_this_month, teams_over_budget
from apps.resources.budgets import BudgetState, budget_of, check_may_start, note_budgets, set_budget
from apps.resources.models import Allocation, Budget, Pool, Traffic
from apps.resources.nodes import default_pool
from apps.resources.periods import month_of
from apps.resources.planning import schedule_pool
from apps.resources.prices import set_price
from apps.resources.quotas import set_quota
from tests.jobs.making import make_version, run, submit
from tests.resources.usage_made import machine, used

pytestmark = pytest.mark.django_db


def month_start():
    return month_of(timezone.now(), timezone.get_default_timezone()).start


def spend(person, cost: str) -> None:
    used(person.team, person.user, month_start() + timedelta(hours=2), cost=cost)


def budget(person, amount: str | None) -> None:
    set_budget(team=person.team, amount=None if amount is None else Decimal(amount), user=None)


def test_spending_counts_this_month_only_and_records_over_its_start_in_part(member):
    used(member.team, member.user, month_start() + timedelta(hours=1), hours=4, devices=2, cost="8")
    used(member.team, member.user, month_start() - timedelta(hours=1), hours=4, cost="100")
    Traffic.objects.create(team=member.team, day=timezone.localdate(month_start()), kind="download", cost="0.5")
    assert cost_this_month([member.team.pk]) == {member.team.pk: Decimal("2.50")}
    assert device_seconds_this_month(default_pool(), [member.team.pk]) == {member.team.pk: pytest.approx(2 * 3600)}


def test_what_runs_is_part_of_what_is_spent(member):
    set_price(item="cpu", amount=Decimal(60), user=None)
    run(submit(member.team, member.user, make_version(member.team)), machine())
    held_for = min(timedelta(minutes=30), timezone.now() - month_start())
    Allocation.objects.update(granted_at=timezone.now() - held_for)
    expected = held_for.total_seconds() / 60
    assert float(cost_this_month([member.team.pk])[member.team.pk]) == pytest.approx(expected, abs=0.5)


def test_a_spent_budget_refuses_new_work_with_the_numbers(member):
    budget(member, "10")
    spend(member, "9.99")
    submit(member.team, member.user, make_version(member.team))
    spend(member, "0.01")
    with pytest.raises(QuotaExceeded) as caught:
        submit(member.team, member.user, make_version(member.team, "More"))
    assert (caught.value.code, caught.value.details) == ("budget_spent", {"spent": 10.0, "limit": 10.0})
    assert "€10.00 of its budget of €10.00" in caught.value.message
    answer = member.api.post(
        "/api/v1/jobs/", {"kind": "train", "dataset": "More"}, content_type="application/json"
    ).json()
    assert answer["error"]["code"] == "budget_spent"


def test_what_waits_does_not_start_and_what_runs_goes_on(member, stranger):
    node = machine(devices=2)
    running = run(submit(member.team, member.user, make_version(member.team)), node)
    waiting = submit(member.team, member.user, make_version(member.team, "Waits"))
    budget(member, "1")
    budget(stranger, "1")
    spend(member, "2")
    assert teams_over_budget() == {member.team.pk}
    schedule_pool(default_pool())
    running.refresh_from_db()
    waiting.allocation.refresh_from_db()
    assert running.status == Job.Status.RUNNING
    assert waiting.allocation.status == Allocation.Status.PENDING
    assert waiting.allocation.reason["code"] == "budget_spent"
    budget(member, None)
    assert teams_over_budget() == frozenset()
    schedule_pool(default_pool())
    waiting.allocation.refresh_from_db()
    assert waiting.allocation.status == Allocation.Status.GRANTED


def test_what_waits_does_not_start_once_the_hours_are_spent(member):
    machine(devices=2)
    waiting = submit(member.team, member.user, make_version(member.team))
    set_quota(team=member.team, pool=default_pool(), resource="device_time", limit=3600, user=None)
    used(member.team, member.user, month_start() + timedelta(hours=2), hours=1)
    schedule_pool(default_pool())
    waiting.allocation.refresh_from_db()
    assert waiting.allocation.reason["code"] == "hours_spent"


def test_spent_hours_refuse_new_work_with_the_numbers(member):
    set_quota(team=member.team, pool=default_pool(), resource="device_time", limit=3600, user=None)
    check_may_start(member.team, default_pool())
    used(member.team, member.user, month_start() + timedelta(hours=2), hours=1)
    with pytest.raises(QuotaExceeded, match=r"1\.0 of the 1\.0 device-hours") as caught:
        submit(member.team, member.user, make_version(member.team))
    assert (caught.value.code, caught.value.details) == ("hours_spent", {"used_seconds": 3600, "limit_seconds": 3600})


def test_a_budget_of_nothing_stops_new_work_and_no_budget_never_does(member):
    check_may_start(member.team, default_pool())
    budget(member, "0")
    with pytest.raises(QuotaExceeded):
        check_may_start(member.team, default_pool())


def test_the_check_of_data_that_was_let_in_is_not_refused(member):
    budget(member, "0")
    version = make_version(member.team, status="checking")
    assert submit_prepare(version=version).kind == Job.Kind.PREPARE


def test_at_80_percent_the_team_is_warned_where_it_starts_work(member, stranger, django_capture_on_commit_callbacks):
    version = make_version(member.team)
    budget(member, "100")
    spend(member, "79")
    assert "budget for this month" not in member.page.get("/").content.decode()
    with django_capture_on_commit_callbacks(execute=True):
        budget(member, "98.75")
    for path in ("/", "/jobs/new/", f"/jobs/new/?dataset_version={version.pk}"):
        page = member.page.get(path).content.decode()
        assert "80 % of its budget" in page and "€79.00 of €98.75" in page, path
    spend(member, "30")
    with django_capture_on_commit_callbacks(execute=True):
        budget(member, "100")
    assert "budget for this month is spent" in member.page.get("/").content.decode()
    assert "budget for this month" not in stranger.page.get("/").content.decode()


def test_the_warning_is_cheap(member):
    budget(member, "1")
    spend(member, "1")
    member.page.get("/")
    with CaptureQueriesContext(
        connection,
    ) as queries:
        member.page.get("/")
    assert not [query for query in queries if "resources_budget" in query["sql"]]


def test_the_audit_trail_notes_80_and_100_percent_once_a_month(member):
    now = timezone.now()
    budget(member, "10")
    spend(member, "8")
    assert [note_budgets(now=now), note_budgets(now=now)] == [1, 0]
    spend(member, "2")
    assert [note_budgets(now=now), note_budgets(now=now)] == [1, 0]
    noted = AuditEvent.objects.filter(team=member.team, action__startswith="budget.").exclude(action="budget.changed")
    assert {event.action: event.details["spent"] for event in noted} == {
        "budget.nearly_spent": "8.00",
        "budget.spent": "10.00",
    }
    noted.update(at=month_start() - timedelta(days=1))
    assert note_budgets(now=now) == 2, "a new month is noted anew"


def test_administrators_set_budgets_and_it_is_written_down(administrator, member):
    sent = {"budgets": "1", f"budget-{member.team.pk}": "250", f"budget-{administrator.team.pk}": ""}
    assert administrator.page.post("/pool/prices/", sent).status_code == 302
    assert budget_of(member.team) == BudgetState(Decimal("0.00"), Decimal("250.00"))
    assert "€0.00" in member.page.get("/pool/usage/").content.decode()
    changed = AuditEvent.objects.get(action="budget.changed")
    assert (changed.team, changed.actor, changed.details["after"]) == (member.team, administrator.user, "250.00")
    administrator.page.post("/pool/prices/", sent | {f"budget-{member.team.pk}": ""})
    assert not Budget.objects.exists()


def test_a_team_cannot_raise_its_own_budget(owner):
    budget(owner, "1")
    sent = {"budgets": "1", f"budget-{owner.team.pk}": "1000000"}
    assert owner.page.post("/pool/prices/", sent).status_code == 403
    assert budget_of(owner.team).amount == 1


@pytest.mark.parametrize("amount", ["-0.01", "NaN", "1e30"])
def test_no_budget_is_below_nothing_or_beyond_reason(member, amount):
    with pytest.raises(Unprocessable):
        budget(member, amount)


def test_hours_are_counted_in_the_pool_where_the_work_is_to_run(member):
    other = Pool.objects.create(name="other")
    set_quota(team=member.team, pool=default_pool(), resource="device_time", user=None, limit=0)
    check_may_start(member.team, other)
    with pytest.raises(QuotaExceeded, match="device-hours"):
        check_may_start(member.team, default_pool())
