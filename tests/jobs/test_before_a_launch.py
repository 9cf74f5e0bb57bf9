"""Before a launch: where it would run, when, how long, at what cost, what is left then, and what is refused."""

from decimal import Decimal

import pytest

from apps.jobs import attempts
from apps.jobs.models import Job
from apps.jobs.where import WhereForm
from apps.resources.budgets import set_budget
from apps.resources.models import ClearingPrice, DurationHistory, Node, Pool, Quota
from apps.resources.nodes import default_pool, register_node
from apps.resources.prices import set_price
from apps.resources.quotas import set_quota, share_of
from apps.resources.scheduling import Demand, Priority
from apps.resources.wanted import Wanted
from tests.jobs.making import fail, make_node, make_table, make_version, run, submit, succeed
from tests.people import Person

SUMMARY = {"HX-Request": "true", "HX-Target": "summary"}


@pytest.fixture
def images(team):
    return make_version(team, size_bytes=10_000_000)


def look(person: Person, version, **choices):
    response = person.page.get("/jobs/new/", {"dataset_version": version.pk, **choices})
    assert response.status_code == 200
    return response


def prospect(person: Person, version, **choices):
    return look(person, version, **choices).context["prospect"]


def launch(person: Person, version, **choices):
    data = {"dataset_version": version.pk, "model_name": "mine", "preset": "fast", **choices}
    return person.page.post("/jobs/new/", data)


def gpu(name: str, count: int = 1, memory: int = 16 * 10**9) -> Node:
    held = [{"kind": "cuda", "index": index, "name": "L4", "memory_bytes": 10**9} for index in range(count)]
    return register_node(name=name, facts={"cpu_count": 4, "memory_bytes": memory, "devices": held})


def test_it_starts_at_once_while_a_device_is_free_and_not_when_none_is(member, images):
    node = make_node(devices=1)
    seen = prospect(member, images)
    assert (seen.free, seen.total, seen.start.is_now, seen.refusal) == (1, 1, True, None)
    run(submit(member.team, member.user, images), node)
    later = look(member, images)
    assert (later.context["prospect"].free, later.context["prospect"].start.is_now) == (0, False)
    assert "0 of 1 device free" in later.content.decode()


def test_without_a_machine_it_says_that_it_waits_for_one(member, images):
    page = look(member, images).content.decode()
    assert "no machine online yet" in page and "when a machine joins" in page


def test_how_long_it_takes_is_a_first_guess_until_something_has_ended(member, images, tmp_path):
    node = make_node()
    assert "a first guess" in look(member, images).content.decode()
    succeed(run(submit(member.team, member.user, images), node), tmp_path)
    after = look(member, images)
    assert after.context["prospect"].duration.seen == 1 and "a first guess" not in after.content.decode()


def test_estimates_follow_what_this_person_ran_and_go_with_the_claim(member, images, tmp_path):
    node = make_node()
    first = prospect(member, images).duration.estimate
    for _ in range(8):
        job = run(submit(member.team, member.user, images), node)
        type(job.allocation).objects.filter(pk=job.allocation_id).update(attained_seconds=7200)
        succeed(Job.objects.get(pk=job.pk), tmp_path)
    learned = prospect(member, images).duration.estimate
    assert first.high_seconds < 3600 < learned.median_seconds < 3 * 3600
    claim = submit(member.team, member.user, images).allocation
    assert claim.low_seconds <= claim.median_seconds <= claim.high_seconds
    assert claim.median_seconds == pytest.approx(learned.median_seconds, rel=0.2)


def test_what_failed_or_was_cancelled_teaches_nothing(member, images):
    node = make_node()
    fail(run(submit(member.team, member.user, images), node))
    job = run(submit(member.team, member.user, images), node)
    assert attempts.end_cancelled(job=job, attempt=job.attempt)
    assert not DurationHistory.objects.exists()


def test_what_it_costs_is_a_range_at_todays_prices_and_free_while_nothing_is_charged(member, images, administrator):
    make_node()
    assert prospect(member, images).cost is None
    set_price(item="cpu", amount=Decimal(36), user=administrator.user)
    low, high = prospect(member, images).cost
    estimate = prospect(member, images).duration.estimate
    assert float(low) == pytest.approx(estimate.low_seconds / 100) and low < high


def test_what_is_left_of_every_limit_is_said_and_nothing_where_there_is_none(member, images, administrator):
    make_node()
    assert prospect(member, images).left == ()
    for resource, limit in {"devices": 4, "jobs": 3, "device_time": 7200, "storage": 10**9}.items():
        set_quota(team=member.team, pool=default_pool(), resource=resource, user=None, limit=limit)
    set_budget(team=member.team, amount=Decimal(40), user=administrator.user)
    left = {item.label: (item.left, item.limit) for item in prospect(member, images).left}
    assert (left["Devices"], left["Jobs at once"], left["Storage"]) == (("3", "4"), ("2", "3"), ("1.0 GB", "1.0 GB"))
    assert left["Device-hours this month"][1] == "2.0" and left["Budget this month"][1].endswith("40.00")


@pytest.mark.parametrize(
    ("choice", "code"),
    [({"memory": "64"}, "too_large_for_any_node"), ({"cpu": "99"}, "too_large_for_any_node")],
)
def test_what_can_never_run_is_said_before_and_refused_beside_the_field(member, images, choice, code):
    make_node()
    page = look(member, images, **choice)
    assert page.context["prospect"].refusal.code == code and f'data-code="{code}"' in page.content.decode()
    response = launch(member, images, **choice)
    [field] = choice
    assert response.status_code == 422 and not Job.objects.exists()
    assert "on one machine" in response.context["where"].errors[field][0]
    assert f'aria-describedby="id_{field}_error"' in response.content.decode()


def test_a_quota_that_is_used_up_is_said_before(member, images):
    make_node()
    set_quota(team=member.team, pool=default_pool(), resource="jobs", user=None, limit=1)
    submit(member.team, member.user, images)
    assert prospect(member, images).refusal.code == "quota_exceeded"
    assert launch(member, images).status_code == 403


def test_the_card_follows_what_is_chosen(member, images):
    make_node()
    choice = {"dataset_version": images.pk, "memory": "2.5", "preemptible": "false"}
    page = member.page.get("/jobs/new/", choice, headers=SUMMARY).content.decode()
    assert "<html" not in page and 'id="summary"' in page
    assert "2.5 GB" in page and "not preempted" in page and 'id="where-chosen" hx-swap-oob="true"' in page


def test_a_setting_that_was_changed_is_named_and_counts_for_the_card(member, images):
    values = {"preset": "fast", "filled_task": "image_classification", "filled_preset": "fast", "epochs": "3"}
    response = member.page.get("/jobs/new/", {"dataset_version": images.pk, **values}, headers=SUMMARY)
    page = response.content.decode()
    assert 'id="changed" hx-swap-oob="true"' in page and "1 changed: Epochs<" in page


def test_choices_go_with_the_job(member, images):
    make_node()
    launch(member, images, cpu="1.5", memory="2", priority="low", preemptible="false")
    claim = Job.objects.get().allocation
    assert (claim.cpu_millicores, claim.memory_bytes, claim.is_preemptible) == (1500, 2 * 10**9, False)
    assert claim.priority == Priority.LOW


def test_only_what_there_is_a_choice_of_is_asked(member, images):
    make_node(devices=1)
    plain = look(member, images).context["where"].fields
    assert set(plain) == {"priority", "cpu", "memory", "preemptible"}
    gpu("two")
    Pool.objects.create(name="night")
    assert {"pool", "device_kind"} <= set(look(member, images).context["where"].fields)


def test_several_devices_can_be_chosen_only_where_the_program_uses_them(member, images):
    gpu("one", 4)
    assert not {"devices", "strategy"} & set(look(member, make_table(member.team)).context["where"].fields)
    assert "The pool has 4." in look(member, images).content.decode()


def test_the_kind_and_the_pool_that_were_chosen_are_asked_for(member, images):
    make_node()
    gpu("two")
    night = Pool.objects.create(name="night")
    launch(member, images, device_kind="cuda")
    launch(member, images, pool="night")
    first, second = (job.allocation for job in Job.objects.order_by("pk"))
    assert (first.device_kind, first.pool) == ("cuda", default_pool()) and second.pool == night


def test_high_priority_is_offered_to_owners_and_refused_to_members(owner, member, images):
    make_node()
    names = [name for name, _label in look(member, images).context["where"].fields["priority"].choices]
    assert names == ["low", "normal"]
    response = launch(member, images, priority="high")
    assert response.status_code == 422 and "owners and admins" in response.context["where"].errors["priority"][0]
    assert launch(owner, images, priority="high").status_code == 302
    assert Job.objects.get().allocation.priority == Priority.HIGH


def test_a_bid_is_proposed_a_little_above_the_price_and_never_above_the_credits(member):
    pool = default_pool()
    Pool.objects.filter(pk=pool.pk).update(policy="auction")
    ClearingPrice.objects.create(pool=pool, price=4.0)
    share = share_of(member.team, pool)

    def proposed(credits: float, **values: str) -> float:
        type(share).objects.filter(pk=share.pk).update(credits=credits)
        usual = Wanted(default_pool(), Demand(devices=1))
        form = WhereForm(team=member.team, user=member.user, values=values, usual=usual, most_devices=1)
        return form.wanted.terms.bid

    assert (proposed(100), proposed(2), proposed(0), proposed(100, bid="7.5")) == (4.4, 2.0, 0.0, 7.5)


@pytest.mark.parametrize("value", ["-1", "1e400", "nan", "\x00", "9" * 400, "<b>", "1e300"])
def test_senseless_amounts_are_errors_and_never_a_fault(member, images, value):
    make_node()
    for field in ("cpu", "memory", "pool", "device_kind", "priority", "bid", "preemptible"):
        assert member.page.get("/jobs/new/", {"dataset_version": images.pk, field: value}).status_code == 200
    assert launch(member, images, memory=value).status_code == 422
    assert "<b>" not in look(member, images, cpu="<b>").content.decode().split("What will happen")[1]


def test_training_again_asks_for_the_same_place(member, images):
    make_node()
    launch(member, images, memory="3", preemptible="false", priority="low")
    form = member.page.get("/jobs/new/", {"clone": Job.objects.get().pk}).context["where"]
    assert form.wanted.choices["memory"] == 3.0
    assert (form.wanted.choices["preemptible"], form.wanted.choices["priority"]) == (False, "low")


def test_a_limit_of_the_team_is_said_with_its_number(member, images):
    make_node()
    Quota.objects.create(team=member.team, pool=default_pool(), resource="memory", limit=10**9)
    refusal = prospect(member, images, memory="2").refusal
    assert (refusal.code, refusal.field, refusal.details["limit"]) == ("exceeds_limit", "memory", 10**9)


def test_in_a_pool_that_is_auctioned_the_page_asks_for_a_bid_and_says_what_it_costs_at_most(member, images):
    make_node()
    pool = default_pool()
    Pool.objects.filter(pk=pool.pk).update(policy="auction")
    share = share_of(member.team, pool)
    type(share).objects.filter(pk=share.pk).update(credits=50)
    page = look(member, images, bid="6").content.decode()
    assert "your team has 50 credits" in page and "at most" in page and "bids 6" in page
    launch(member, images, bid="6")
    assert Job.objects.get().allocation.bid == 6.0
