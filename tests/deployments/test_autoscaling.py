"""A deployment that follows its load: what web servers tell, what agents decide, and what the page says of it."""

import pytest
from django.urls import reverse

from apps.core.errors import NotFound
from apps.deployments import in_flight
from apps.deployments.autoscaling import scale, scale_deployments, wake_deployment
from apps.deployments.in_flight import InFlight
from apps.deployments.models import Deployment, Replica
from apps.deployments.services import change_deployment, deploy_version
from tests.deployments.conftest import state

pytestmark = pytest.mark.django_db

API = "/api/v1/deployments/"


@pytest.fixture
def deployment(owner, version, node) -> Deployment:
    """Between no and four replicas, four requests at once for each, asleep after ten minutes."""
    made = deploy_version(team=owner.team, user=owner.user, version=version)
    fields = {"max_replicas": 4, "min_replicas": 0, "target_in_flight": 4, "idle_minutes": 10}
    Deployment.objects.filter(pk=made.pk).update(**fields)
    return reread(made)


def reread(deployment: Deployment) -> Deployment:
    return Deployment.objects.get(pk=deployment.pk)


def looks(deployment: Deployment, requests: float, seconds: range) -> None:
    """One look a second."""
    for now in seconds:
        scale(reread(deployment), {deployment.pk: requests}, now=float(now))


def patch(person, deployment, **fields):
    return person.api.patch(f"{API}{deployment.pk}/", fields, content_type="application/json")


def post(person, deployment, **fields):
    return person.page.post(reverse("deployments:change", args=[deployment.pk]), fields)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


# What is in flight


def test_the_mean_in_flight_counts_each_request_by_how_long_it_took():
    clock = Clock()
    counter = InFlight(clock)
    with counter.count(7):
        clock.now = 0.5
        with counter.count(7):
            clock.now = 1.0
            assert counter.take() == {7: 1.5}
        clock.now = 2.0
        assert counter.take() == {7: 1.0}
    assert counter.take() == {7: 0.0}
    assert counter.take() == {}


def test_the_numbers_of_several_web_servers_add_up_and_each_tells_only_its_newest():
    in_flight.tell({7: 1.0, 8: 2.0}, server="a")
    in_flight.tell({7: 0.5}, server="b")
    in_flight.tell({7: 3.0}, server="a")
    assert in_flight.read() == {7: 3.5}


def test_a_web_server_that_is_gone_no_longer_counts(_valkey):
    in_flight.tell({7: 1.0}, server="a")
    in_flight.tell({7: 2.0}, server="b")
    _valkey.delete("serving:in_flight:a")  # as after five seconds
    assert in_flight.read() == {7: 2.0}
    assert _valkey.smembers("serving:servers") == {b"b"}


# What comes of it


def test_load_starts_replicas_and_the_page_says_why(owner, deployment):
    looks(deployment, 7, range(1000, 1012))
    assert reread(deployment).wanted_replicas == 2
    assert deployment.replicas.filter(status__in=Replica.LIVE).count() == 2
    page = owner.page.get(reverse("deployments:detail", args=[deployment.pk])).content.decode()
    assert "1 → 2" in page
    assert "7.0 requests were in flight over 10 seconds; one replica is meant for 4." in page
    told = owner.api.get(f"{API}{deployment.pk}/scaling/").json()["events"][0]
    assert (told["before"], told["after"], told["made_by"]) == (1, 2, None)


def test_without_requests_it_falls_asleep_and_a_request_wakes_it(owner, deployment):
    looks(deployment, 1, range(1000, 1001))
    looks(deployment, 0, range(1010, 1611, 10))
    assert state(deployment).status == "asleep"
    assert not deployment.replicas.filter(status__in=Replica.LIVE).exists()
    wake_deployment(deployment.pk)
    assert state(deployment).status == "starting"
    reasons = list(deployment.scaling_events.values_list("before", "after", "reason"))
    assert reasons == [(0, 1, "A request came while it slept."), (1, 0, "Nobody has asked for 10 minutes.")]
    looks(deployment, 0, range(1611, 1613))  # before the web server has told of the request
    assert reread(deployment).wanted_replicas == 1


def test_two_agents_that_look_at_the_same_time_decide_once(deployment):
    for now in range(1000, 1030):
        for late in (0.0, 0.1):
            scale(reread(deployment), {deployment.pk: 7}, now=now + late)
    assert [event.after for event in deployment.scaling_events.all()] == [2]


def test_who_has_changed_it_meanwhile_is_not_overruled(deployment):
    stale = reread(deployment)
    Deployment.objects.filter(pk=deployment.pk).update(wanted_replicas=3)
    scale(stale, {deployment.pk: 40}, now=1000.0)
    assert reread(deployment).wanted_replicas == 3


def test_one_that_is_deleted_meanwhile_harms_no_other(owner, deployment):
    stale = reread(deployment)
    Deployment.objects.all().delete()
    scale(stale, {stale.pk: 40}, now=1000.0)
    with pytest.raises(NotFound):
        change_deployment(deployment=stale, user=owner.user, wanted_replicas=2)


def test_what_another_version_of_the_code_remembered_is_forgotten(deployment, _valkey):
    _valkey.set(f"serving:{deployment.pk}:scaling", '{"since": 1, "mood": "good"}')
    looks(deployment, 9, range(1000, 1001))
    assert reread(deployment).wanted_replicas == 3


def test_a_rush_told_by_the_web_servers_is_answered_at_the_next_look(deployment):
    in_flight.tell({deployment.pk: 9.0}, server="a")
    scale_deployments()
    assert reread(deployment).wanted_replicas == 3


def test_one_with_a_fixed_number_is_left_alone(deployment):
    Deployment.objects.filter(pk=deployment.pk).update(max_replicas=None)
    in_flight.tell({deployment.pk: 100.0}, server="a")
    scale_deployments()
    assert reread(deployment).wanted_replicas == 1
    wake_deployment(deployment.pk)
    assert not deployment.scaling_events.exists()


def test_one_that_a_person_stopped_is_not_woken(owner, deployment):
    patch(owner, deployment, max_replicas=0, wanted_replicas=0)
    wake_deployment(deployment.pk)
    assert state(deployment).status == "stopped"


# Who sets it


def test_the_bounds_are_set_by_rest_and_by_the_form(owner, deployment):
    answer = patch(owner, deployment, min_replicas=1, max_replicas=3, target_latency_ms=50).json()
    assert (answer["min_replicas"], answer["max_replicas"], answer["target_latency_ms"]) == (1, 3, 50)
    post(owner, deployment, max_replicas="2", target_latency_ms="0", target_in_flight="1.5")
    row = reread(deployment)
    assert (row.min_replicas, row.max_replicas, row.target_latency_ms, row.target_in_flight) == (1, 2, None, 1.5)
    post(owner, deployment, max_replicas="0")
    assert reread(deployment).max_replicas is None


def test_a_change_of_another_thing_leaves_the_scaling(owner, deployment):
    post(owner, deployment, requests_per_minute="5")
    assert reread(deployment).max_replicas == 4


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"max_replicas": 9}, "max_replicas"),
        ({"min_replicas": 5}, "min_replicas"),
        ({"max_replicas": 0, "min_replicas": 100_000}, "min_replicas"),
        ({"target_in_flight": 0}, "target_in_flight"),
        ({"idle_minutes": 0}, "idle_minutes"),
        ({"wanted_replicas": 5}, "wanted_replicas"),
    ],
)
def test_bounds_that_cannot_be_are_refused(owner, deployment, fields, field):
    response = patch(owner, deployment, **fields)
    assert (response.status_code, response.json()["error"]["field"]) == (422, field)
    assert reread(deployment).max_replicas == 4


def test_one_that_follows_its_load_again_does_not_sleep_for_what_was_long_ago(owner, deployment):
    looks(deployment, 1, range(1000, 1001))
    patch(owner, deployment, max_replicas=0)
    patch(owner, deployment, max_replicas=4)
    looks(deployment, 0, range(90_000, 90_001))
    assert reread(deployment).wanted_replicas == 1
    looks(deployment, 0, range(90_010, 90_611, 10))
    assert reread(deployment).wanted_replicas == 0


def test_a_number_chosen_by_a_person_stands_in_the_same_list(owner, deployment):
    patch(owner, deployment, wanted_replicas=3)
    event = deployment.scaling_events.get()
    assert (event.before, event.after, event.made_by, event.reason) == (1, 3, owner.user, "")


def test_viewers_and_strangers_do_not_scale(viewer, stranger, deployment):
    assert patch(viewer, deployment, max_replicas=1).status_code == 403
    assert viewer.api.get(f"{API}{deployment.pk}/scaling/").status_code == 200
    assert stranger.api.get(f"{API}{deployment.pk}/scaling/").status_code == 404


def test_the_page_shows_the_load_and_that_it_sleeps(owner, deployment):
    in_flight.tell({deployment.pk: 2.5}, server="a")
    url = reverse("deployments:detail", args=[deployment.pk])
    htmx = {"HX-Request": "true", "HX-Target": "scaling"}
    part = owner.page.get(url, headers=htmx).content.decode()
    assert "2.5 requests in flight" in part
    assert "<html" not in part
    Deployment.objects.filter(pk=deployment.pk).update(wanted_replicas=0)
    assert "Asleep" in owner.page.get(url).content.decode()
