"""Credits: handed out once a period by weight, charged for device time really held, never owed, never lost."""

from datetime import timedelta

import pytest
from django.db.models import Sum
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.accounts.models import AuditEvent, Team
from apps.core.errors import Conflict, Unprocessable
from apps.resources.market import charge_running, check_bid, give_credits, place_bid
from apps.resources.models import Allocation, CreditEntry, Pool, Share
from apps.resources.nodes import default_pool
from apps.resources.planning import apply_plan
from apps.resources.quotas import share_of
from apps.resources.scheduling import Demand, Plan, Reason, Waiting
from apps.resources.scheduling.credits import to_micro
from apps.resources.services import Terms, release_allocation, request_allocation
from tests.jobs.making import make_node

pytestmark = pytest.mark.django_db
START = timezone.now().replace(microsecond=0) - timedelta(days=30)
HOUR = timedelta(hours=1)
WEEK = timedelta(days=7)
S = Allocation.Status


@pytest.fixture
def pool(db) -> Pool:
    pool = default_pool()
    Pool.objects.filter(pk=pool.pk).update(policy=Pool.Policy.AUCTION, credits_per_period=900, credit_period_hours=168)
    pool.refresh_from_db()
    return pool


@pytest.fixture
def birds(db) -> Team:
    return Team.objects.create(name="Birds", slug="birds")


@pytest.fixture
def fish(db) -> Team:
    return Team.objects.create(name="Fish", slug="fish")


def balance(team: Team) -> float:
    return Share.objects.get(team=team).credits


def holding(team: Team, price: float, devices: int = 1, since=START, **fields) -> Allocation:
    """Work that has been running since `since` at `price`."""
    node = make_node("one", devices=8)
    claim = request_allocation(team=team, user=None, demand=Demand(devices=devices))
    Allocation.objects.filter(pk=claim.pk).update(
        status=S.GRANTED, node=node, price=price, bid=price, granted_at=since, **fields
    )
    Share.objects.filter(team=team).update(held_devices=devices, held_jobs=1)
    claim.refresh_from_db()
    return claim


def test_a_period_is_handed_out_once_in_proportion_to_weight(pool, birds, fish):
    share_of(birds, pool)
    Share.objects.filter(team=birds).update(weight=2)
    assert give_credits(pool=pool, now=START) == 2
    assert give_credits(pool=pool, now=START + timedelta(days=6)) == 0
    assert (balance(birds), balance(fish)) == (600, 300)
    assert CreditEntry.objects.count() == 2


def test_what_is_saved_beyond_one_income_expires(pool, birds):
    for week in range(4):
        give_credits(pool=pool, now=START + week * WEEK)
    assert balance(birds) == 1800
    expired = CreditEntry.objects.filter(kind="expired")
    assert [entry.amount for entry in expired] == [-900, -900]


def test_periods_follow_each_other_also_while_the_site_was_off(pool, birds):
    give_credits(pool=pool, now=START)
    give_credits(pool=pool, now=START + 3 * WEEK + HOUR)
    pool.refresh_from_db()
    assert pool.credits_given_at == START + 3 * WEEK
    assert balance(birds) == 1800  # one income for the gap, not three


def test_a_team_that_comes_later_gets_its_part_of_the_rest(pool, birds):
    give_credits(pool=pool, now=START)
    late = Team.objects.create(name="Late", slug="late")
    assert give_credits(pool=pool, now=START + WEEK / 2) == 1
    assert balance(late) == 225
    assert give_credits(pool=pool, now=START + WEEK / 2) == 0


def test_no_credits_are_given_where_nothing_is_auctioned(pool, birds):
    Pool.objects.update(policy=Pool.Policy.FIFO)
    assert give_credits(pool=pool, now=START) == 0
    assert not CreditEntry.objects.exists()


def test_device_time_is_charged_while_it_is_held_and_at_the_end(pool, birds):
    give_credits(pool=pool, now=START)
    claim = holding(birds, price=10, devices=2)
    for minutes in (30, 60, 60):
        charge_running(pool=pool, now=START + timedelta(minutes=minutes))
    assert balance(birds) == 880
    Allocation.objects.filter(pk=claim.pk).update(granted_at=timezone.now() - HOUR)
    CreditEntry.objects.filter(kind="charged").update(at=START)
    release_allocation(allocation=claim)
    assert balance(birds) == pytest.approx(860, abs=0.1)
    entry = CreditEntry.objects.get(kind="charged")
    assert entry.allocation == claim and entry.amount == pytest.approx(-40, abs=0.1)


def test_what_costs_nothing_leaves_no_line(pool, birds):
    claim = holding(birds, price=0)
    charge_running(pool=pool, now=START + HOUR)
    release_allocation(allocation=claim)
    assert not CreditEntry.objects.exists()


def test_a_team_never_owes_and_its_work_then_outbids_nobody(pool, birds, django_capture_on_commit_callbacks):
    give_credits(pool=pool, now=START)
    claim = holding(birds, price=2000)
    with django_capture_on_commit_callbacks(execute=True):
        charge_running(pool=pool, now=START + HOUR)
    claim.refresh_from_db()
    assert (balance(birds), claim.bid, claim.price) == (0, 0, 0)
    assert claim.status == S.GRANTED


def test_work_that_may_not_be_preempted_keeps_its_bid(pool, birds, django_capture_on_commit_callbacks):
    give_credits(pool=pool, now=START)
    claim = holding(birds, price=2000, is_preemptible=False)
    with django_capture_on_commit_callbacks(execute=True):
        charge_running(pool=pool, now=START + HOUR)
    claim.refresh_from_db()
    assert (balance(birds), claim.bid) == (0, 2000)


def test_a_bid_is_placed_on_waiting_work_only(pool, birds, owner):
    give_credits(pool=pool, now=START)
    make_node()
    claim = request_allocation(team=birds, user=None, demand=Demand(devices=2))
    assert place_bid(allocation=claim, bid=100, user=owner.user).bid == 100
    assert AuditEvent.objects.get(action="bid.placed").team == birds
    Allocation.objects.filter(pk=claim.pk).update(status=S.RELEASED)
    with pytest.raises(Conflict):
        place_bid(allocation=claim, bid=50, user=owner.user)


@pytest.mark.parametrize("bid", [-1, float("nan"), float("inf"), 10**10, 451])
def test_a_bid_that_cannot_be_paid_is_refused_in_words(pool, birds, owner, bid):
    give_credits(pool=pool, now=START)
    share = balance(birds)
    with pytest.raises(Unprocessable) as caught:
        check_bid(team=birds, pool=pool, bid=bid, devices=2)
    assert caught.value.field == "bid"
    if bid == 451:
        assert f"Your team has {share:g} credits. For 2 devices and 1 h that is at most" in caught.value.message


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.integers(1, 20 * 24 * 60)),
        st.tuples(st.just("start"), st.integers(0, 5000)),
        st.tuples(st.just("weigh"), st.integers(1, 9)),
    ),
    max_size=12,
)


@given(events=EVENTS)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_credits_are_conserved(pool, birds, fish, events):
    """Whatever happens, a balance is the sum of its lines, is not negative, and no period gives more than it has."""
    CreditEntry.objects.all().delete()
    Allocation.objects.all().delete()
    Share.objects.all().delete()
    Pool.objects.update(credits_given_at=None)
    now = START
    for kind, number in events:
        if kind == "wait":
            now += timedelta(minutes=number)
        elif kind == "weigh":
            Share.objects.filter(team=fish).update(weight=number)
        else:
            holding(birds if number % 2 else fish, price=number / 7, since=now)
        give_credits(pool=pool, now=now)
        charge_running(pool=pool, now=now)
        for share in Share.objects.all():
            lines = CreditEntry.objects.filter(share=share).values_list("amount", flat=True)
            assert to_micro(share.credits) == sum(map(to_micro, lines)) >= 0
    periods = CreditEntry.objects.filter(kind="given").values("at").annotate(n=Sum("amount"))
    assert all(period["n"] == pytest.approx(900) for period in periods)


def test_who_was_outbid_hears_so_until_the_next_sale(pool, birds):
    give_credits(pool=pool, now=START)
    make_node(devices=1)
    claim = request_allocation(team=birds, user=None, demand=Demand(devices=1), terms=Terms(bid=5))
    lost = Reason("outbid", {"bid": 5.0, "price": 8.0})
    busy = Reason("devices_busy", {"asks": 1, "free": 0})
    for reason, bid, code in ((lost, 5, "outbid"), (busy, 5, "outbid"), (busy, 9, "devices_busy")):
        Allocation.objects.filter(pk=claim.pk).update(bid=bid)
        apply_plan(pool, Plan(grants=(), waiting=(Waiting(claim.pk, 1, reason),)))
        claim.refresh_from_db()
        assert claim.reason["code"] == code
