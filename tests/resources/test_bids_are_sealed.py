"""The page of the auction: everybody sees the price, each team its own bids and account, administrators totals only."""

import pytest
from django.utils import timezone

from apps.resources.market import give_credits
from apps.resources.models import Allocation, ClearingPrice, Pool
from apps.resources.nodes import default_pool
from tests.jobs.making import make_node, make_version, submit

pytestmark = pytest.mark.django_db
PAGE = "/pool/auction/"
HTMX = {"HX-Request": "true"}


@pytest.fixture
def pool(owner, stranger) -> Pool:
    make_node(devices=1)
    pool = default_pool()
    Pool.objects.update(policy=Pool.Policy.AUCTION, credits_per_period=1000)
    give_credits(pool=pool, now=timezone.now())
    return pool


def html(person, address: str = PAGE, **headers) -> str:
    return person.page.get(address, headers=headers).content.decode()


def waiting(person, name: str) -> Allocation:
    return submit(person.team, person.user, make_version(person.team, name)).allocation


def bid(person, claim: Allocation, amount: object, **headers):
    return person.page.post(f"{PAGE}bids/{claim.pk}/", {"bid": amount}, headers=headers)


def test_a_bid_is_seen_by_the_own_team_only(pool, member, stranger, administrator):
    assert bid(member, waiting(member, "Birds"), "37.25").status_code == 302
    assert 'value="37.25"' in html(member) and "Train Birds" in html(member)
    for person in (stranger, administrator):
        assert "37.25" not in html(person) and "Train Birds" not in html(person)
    assert "1 of 1 jobs bid" in html(administrator)
    assert "Demand of all teams" not in html(member)


def test_another_teams_work_is_not_found(pool, member, stranger):
    claim = waiting(member, "Birds")
    assert bid(stranger, claim, "1").status_code == 404
    claim.refresh_from_db()
    assert claim.bid == 0


def test_viewers_look_and_do_not_bid(pool, member, viewer):
    claim = waiting(member, "Birds")
    assert bid(viewer, claim, "1").status_code == 403
    assert "Train Birds" in html(viewer) and 'name="bid"' not in html(viewer)


def test_a_bid_in_place_answers_the_part_that_changed(pool, member):
    answer = bid(member, waiting(member, "Birds"), "20", **HTMX)
    part = answer.content.decode()
    assert answer.status_code == 200 and 'id="auction-live"' in part and "<html" not in part
    assert answer["HX-Retarget"] == "#auction-live"


@pytest.mark.parametrize(
    ("amount", "sentence"), [("99999", "that is at most"), ("-1", "greater than"), ("x", "number")]
)
def test_what_is_wrong_with_a_bid_stands_beside_it(pool, member, amount, sentence):
    answer = bid(member, waiting(member, "Birds"), amount, **HTMX)
    part = answer.content.decode()
    assert answer.status_code == 422 and sentence in part
    assert 'hx-trigger="every' not in part  # the sentence stays until it is read


def test_the_price_and_its_history_are_published(pool, member):
    for price in (3.5, 4.25):
        ClearingPrice.objects.create(pool=pool, price=price)
    seen = html(member)
    assert "4.25" in seen and "data-chart" in seen
    assert "Given for the period" in seen


def test_live_parts_come_alone(pool, member):
    for name in ("auction-live", "auction-account"):
        part = html(member, **HTMX, **{"HX-Target": name})
        assert f'id="{name}"' in part and "<html" not in part


def test_without_an_auction_there_is_no_tab_and_the_page_says_so(owner, administrator):
    assert "This pool is not auctioned" in html(owner)
    assert "Auction" not in html(owner, "/pool/")
    assert "Choose the policy" in html(administrator) and "Choose the policy" not in html(owner)


def test_nothing_is_bid_for_where_nothing_is_auctioned(member):
    make_node()
    claim = waiting(member, "Birds")
    assert bid(member, claim, "1").status_code == 409
