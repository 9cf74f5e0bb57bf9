"""What to offer next, and why: reasons count people and name none, and only the team sees who is alike."""

import csv
import json
from collections.abc import Iterator

import numpy as np
import pytest
from django.test import Client
from django.urls import reverse
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.deployments.models import Deployment
from apps.recipes.catalogue import find_recipe
from tests.deployments.conftest import store_model
from tests.deployments.serving import served
from tests.inference.processes import serve
from tests.people import Person
from tests.recommending.making import TAKEN, events, train_here, write_data
from workers.examples.tables import write_purchases
from workers.inference.answers import answer
from workers.inference.framing import JSON, Question
from workers.inference.predictor import load_predictor
from workers.neighbours import FEWEST_PEOPLE, Takers

pytestmark = [pytest.mark.django_db, pytest.mark.xdist_group("offers")]

HTMX = {"HX-Request": "true", "HX-Target": "result"}
# Ten people who have 0 and 1, eight of whom have 2; ten others who have 3.
BASKETS = [[0, 1, 2]] * 8 + [[0, 1]] * 2 + [[3]] * 10


def takers(baskets: list[list[int]], items: int = 4) -> Takers:
    starts = np.cumsum([0, *map(len, baskets)])
    return Takers(starts, np.array([item for basket in baskets for item in basket], dtype=np.int64), items)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    data = write_data(tmp_path_factory.mktemp("data"), TAKEN, events(users=60))
    return train_here(tmp_path_factory.mktemp("work"), data, model="item_weights")


@pytest.fixture(scope="module")
def socket_path(tmp_path_factory, trained) -> Iterator[str]:
    yield from serve(tmp_path_factory.mktemp("replica"), lambda folder: trained / "model")


@pytest.fixture
def shop(owner: Person, trained, socket_path) -> Deployment:
    deployment = served(owner, store_model(owner, trained / "model", "shop"), socket_path, "shop")
    Deployment.objects.update(page="offers", is_public=True)
    deployment.refresh_from_db()
    return deployment


def ask(predictor, **question) -> tuple[int, dict]:
    (frame,) = answer(predictor, [Question(JSON, json.dumps(question).encode())])
    return frame.status, json.loads(frame.body)


def url(deployment: Deployment) -> str:
    return reverse("deployments:demo", args=[deployment.team.slug, deployment.name])


def test_a_reason_counts_those_who_have_the_same_and_the_item_too():
    reason = takers(BASKETS).reason(2, np.array([0, 1, 3]))
    assert (sorted(reason.items), reason.people, reason.also) == ([0, 1], 10, 8)


def test_of_what_few_people_have_nothing_is_said():
    few = [[0, 2]] * (FEWEST_PEOPLE - 1) + [[1]] * 20
    assert takers(few).reason(2, np.array([0])) is None
    assert takers([[0, 2], *few]).reason(2, np.array([0])).also == FEWEST_PEOPLE


def test_what_goes_together_no_more_than_by_chance_is_no_reason():
    by_chance = [[0, 1], [0], [1], []] * 10
    assert takers(by_chance).reason(1, np.array([0])) is None


def test_people_who_have_most_in_common_come_first_and_oneself_does_not():
    found = takers([*BASKETS, [0, 2, 1, 3]]).neighbours(np.array([0, 1]), 3, without=0)
    assert [each.user for each in found] == [1, 2, 3], "nine have more than was asked with"
    assert (found[0].shared.tolist(), found[0].others.tolist()) == ([0, 1], [2])
    assert takers(BASKETS).neighbours(np.array([0, 1, 2]), 3) == [], "nobody has anything beside it"
    assert all(3 not in each.shared for each in takers(BASKETS).neighbours(np.array([0]), 20))


@settings(max_examples=50)
@given(st.lists(st.sets(st.integers(0, 5)), min_size=1, max_size=30), st.sets(st.integers(0, 5), min_size=1))
def test_a_reason_never_names_fewer_people_than_the_bound_nor_more_than_there_are(baskets, history):
    shop = takers([sorted(basket) for basket in baskets], 6)
    for item in range(6):
        if reason := shop.reason(item, np.array(sorted(history))):
            has_all = [basket for basket in baskets if set(reason.items) <= basket]
            assert (reason.people, reason.also) == (len(has_all), sum(item in basket for basket in has_all))
            assert reason.also >= FEWEST_PEOPLE and set(reason.items) <= history


def test_a_program_gets_reasons_and_people_where_it_asks_for_them(trained):
    predictor = load_predictor(trained / "model", threads=1)
    plain = ask(predictor, user="u7", k=3)[1]
    assert set(plain) == {"items", "based_on"} and not any("because" in item for item in plain["items"])
    status, told = ask(predictor, user="u7", k=3, reasons=True, people=4)
    assert status == 200 and [item["item"] for item in told["items"]] == [item["item"] for item in plain["items"]]
    owned = {item["item"] for item in told["owned"]}
    assert not owned & {item["item"] for item in told["items"]}, "nobody is offered what they own"
    assert {own["item"] for item in told["items"] for own in item["because"]["items"]} <= owned
    assert len(told["people"]) == 4 and "u7" not in {person["user"] for person in told["people"]}


@pytest.mark.parametrize("wrong", [{"reasons": "yes"}, {"people": 0}, {"people": True}, {"people": 21}])
def test_what_is_no_wish_for_reasons_is_refused(trained, wrong):
    status, body = ask(load_predictor(trained / "model", threads=1), user="u7", **wrong)
    assert status in (400, 422) and body["error"]["field"] in wrong


def test_the_page_of_offers_shows_what_a_customer_owns_and_why_to_offer_what(owner, shop):
    page = owner.page.get(url(shop)).content.decode()
    assert "What does the customer own already?" in page and "Find offers" in page
    part = owner.page.post(url(shop), {"user": "u7"}, headers=HTMX).content.decode()
    assert "Owns" in part and "have it too" in part and "Customers like this one" in part


def test_a_model_that_recommends_gets_its_page_of_offers_by_a_choice(owner, shop):
    change = reverse("deployments:demo_page", args=[shop.pk])
    assert "A talk" not in owner.page.get(change).content.decode()
    owner.page.post(change, {"page": "", "notice": ""})
    assert "What do you like?" in owner.page.get(url(shop)).content.decode()
    owner.page.post(change, {"page": "offers", "notice": "By habit alone."})
    page = owner.page.get(url(shop)).content.decode()
    assert "What does the customer own already?" in page and "By habit alone." in page


def test_a_stranger_sees_reasons_and_nobody_who_is_alike(owner, shop):
    liked = [item["item"] for item in shop.version.meta["input"]["popular"]][:4]
    part = Client().post(url(shop), {"items": liked}, headers=HTMX).content.decode()
    assert "have it too" in part and "Customers like this one" not in part
    assert not any(f">u{number}<" in part for number in range(60))
    assert Client().post(url(shop), {"user": "u7"}, headers=HTMX).status_code == 403


def test_the_recipe_has_purchases_with_bundles_to_find(tmp_path):
    recipe = find_recipe("next-best-offer")
    write_purchases(tmp_path / recipe.example)
    with open(tmp_path / recipe.example, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    owned: dict[str, set[str]] = {}
    for row in rows:
        owned.setdefault(row["customer"], set()).add(row["product"])
    tents = [products for products in owned.values() if "Tent" in products]
    share = sum("Sleeping bag" in products for products in tents) / len(tents)
    assert recipe.page == "offers" and "nobody is" in recipe.source and share > 0.5
    assert len({(row["customer"], row["product"]) for row in rows}) == len(rows)
