"""What is charged: prices of the moment, of a kind or of one model of device, set by administrators."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from apps.accounts.models import AuditEvent
from apps.core.errors import Unprocessable
from apps.resources.budgets import estimated_cost
from apps.resources.models import Allocation, Price, UsageRecord
from apps.resources.money import money
from apps.resources.prices import current_prices, set_price
from apps.resources.services import release_allocation
from apps.resources.usage import GB, MONTH_SECONDS
from tests.jobs.making import make_version, run, submit
from tests.resources.usage_made import CPU_NAME, machine

pytestmark = pytest.mark.django_db


def price(item: str, amount: str, device_name: str = "") -> None:
    set_price(item=item, device_name=device_name, amount=Decimal(amount), user=None)


def test_a_record_is_written_at_the_prices_of_its_end_and_keeps_them(member):
    job = run(submit(member.team, member.user, make_version(member.team)), machine())
    Allocation.objects.update(granted_at=timezone.now() - timedelta(hours=3), busy_device_seconds=3600)
    price("cpu", "0.5")
    release_allocation(allocation=job.allocation)
    price("cpu", "10")
    record = UsageRecord.objects.get()
    assert float(record.cost) == pytest.approx(1.5, abs=0.01)
    assert (record.busy_device_seconds, record.device_name) == (3600, CPU_NAME)


def test_busy_time_is_never_more_than_was_held(member):
    job = run(submit(member.team, member.user, make_version(member.team)), machine())
    Allocation.objects.update(busy_device_seconds=10**6)
    release_allocation(allocation=job.allocation)
    record = UsageRecord.objects.get()
    assert record.busy_device_seconds == record.device_seconds


def test_a_model_of_device_may_cost_more_than_its_kind():
    price("cuda", "1")
    price("cuda", "2.5", "NVIDIA H100")
    assert estimated_cost(2, "cuda", 1800) == 1
    assert estimated_cost(2, "cuda", 1800, "NVIDIA H100") == Decimal("2.5")
    assert estimated_cost(2, "cuda", 1800, "NVIDIA T4") == 1
    assert estimated_cost(0, "", 1800) == 0 and estimated_cost(1, "mps", 60) == 0
    set_price(item="cuda", device_name="NVIDIA H100", amount=None, user=None)
    assert estimated_cost(2, "cuda", 1800, "NVIDIA H100") == 1


def test_a_gb_kept_for_thirty_days_costs_the_price_of_a_gb_month():
    price("storage", "0.03")
    price("egress", "0.1")
    prices = current_prices()
    assert prices.storage(GB * MONTH_SECONDS) == Decimal("0.03")
    assert prices.egress(25 * GB) == Decimal("2.5")


@pytest.mark.parametrize("amount", ["-1", "NaN", "Infinity", "1e9", "-0.0000001"])
def test_no_price_is_below_nothing_or_beyond_reason(amount):
    with pytest.raises(Unprocessable) as caught:
        price("cpu", amount)
    assert caught.value.field == "amount" and not Price.objects.exists()


@pytest.mark.parametrize(("item", "name"), [("gold", ""), ("storage", "NVIDIA H100"), ("cuda", "x" * 121)])
def test_there_is_no_price_for_what_is_not_sold(item, name):
    with pytest.raises(Unprocessable, match="no price for this"):
        price(item, "1", name)


def test_administrators_set_prices_on_the_page_and_it_is_written_down(administrator):
    machine(kind="cuda", name="NVIDIA <H100>")
    page = administrator.page.get("/pool/prices/").content.decode()
    assert "NVIDIA &lt;H100&gt;" in page and "NVIDIA <H100>" not in page
    sent = {"prices": "1", "price-cuda": "1,25", "price-cuda-NVIDIA <H100>": "2.5", "price-storage": "0.02"}
    answer = administrator.page.post("/pool/prices/", sent, follow=True)
    assert "Prices are saved." in answer.content.decode()
    assert current_prices().device_hour("cuda") == Decimal("1.25")
    assert current_prices().device_hour("cuda", "NVIDIA <H100>") == Decimal("2.5")
    administrator.page.post("/pool/prices/", sent | {"price-cuda-NVIDIA <H100>": ""})
    assert current_prices().device_hour("cuda", "NVIDIA <H100>") == Decimal("1.25")
    events = AuditEvent.objects.filter(action="price.changed", actor=administrator.user)
    assert sorted(event.target for event in events) == ["cuda", "cuda NVIDIA <H100>", "cuda NVIDIA <H100>", "storage"]


@pytest.mark.parametrize("wrong", ["-1", "a lot", "9" * 40, "NaN", "1e400", "\0"])
def test_a_wrong_amount_is_said_beside_its_field_and_nothing_is_saved(administrator, wrong):
    answer = administrator.page.post("/pool/prices/", {"prices": "1", "price-cpu": wrong, "price-storage": "1"})
    assert answer.status_code == 422 and "amount-error" in answer.content.decode()
    assert not Price.objects.exists()


def test_nobody_else_sees_or_sets_prices(owner, member, stranger):
    for person in (owner, member, stranger):
        assert person.page.get("/pool/prices/").status_code == 403
        assert person.page.post("/pool/prices/", {"prices": "1", "price-cpu": "0"}).status_code == 403


def test_money_is_written_in_the_sites_currency(settings):
    assert [money(value) for value in (0, Decimal("1234.5"), 0.004)] == ["€0.00", "€1,234.50", "< €0.01"]
    settings.LEPTON_CURRENCY = "credits"
    assert money(2) == "2.00 credits"
