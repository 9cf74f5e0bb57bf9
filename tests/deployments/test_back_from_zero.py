"""A request to a deployment that sleeps is held until a replica is ready, and answered; not refused."""

import asyncio
import threading
from pathlib import Path

import pytest

from apps.accounts.models import ApiKey
from apps.core.errors import TooManyRequests, Unavailable
from apps.deployments.holding import Holder
from apps.deployments.models import Deployment, Replica
from tests.deployments.conftest import store_model, supervise_placed
from tests.inference.models import image_model, png
from tests.people import Person

PREDICT = "/v1/models/shades/predict"
READY, ASLEEP, FAILED = "ready", "asleep", "failed"


# The holder alone


class Found:
    """What the database would say of a deployment."""

    def __init__(self, *, is_ready: bool = False, trouble: str = "") -> None:
        self.routes, self.trouble = is_ready, trouble


class Sleeper:
    """A deployment that becomes ready when the test says so."""

    def __init__(self, **limits) -> None:
        self.woken, self.looks = 0, 0
        self.found = Found()
        self.holder = Holder(self.wake, self.find, **limits)

    async def wake(self, _deployment_id: int) -> None:
        self.woken += 1

    async def find(self, _deployment_id: int) -> Found:
        self.looks += 1
        return self.found

    def ask(self) -> asyncio.Task:
        return asyncio.ensure_future(self.holder.until_ready(1))


async def settle() -> None:
    for _turn in range(10):
        await asyncio.sleep(0)


def test_all_who_wait_are_let_go_together_and_one_look_serves_them_all():
    async def scenario() -> None:
        sleeper = Sleeper()
        asked = [sleeper.ask() for _number in range(20)]
        await settle()
        assert (sleeper.woken, sleeper.looks) == (1, 1)
        sleeper.found = Found(is_ready=True)
        assert {found.routes for found in await asyncio.gather(*asked)} == {True}

    asyncio.run(scenario())


def test_more_than_may_wait_are_told_to_come_again():
    async def scenario() -> None:
        sleeper = Sleeper(max_held=3)
        asked = [sleeper.ask() for _number in range(3)]
        await settle()
        with pytest.raises(TooManyRequests) as refused:
            await sleeper.ask()
        assert (refused.value.code, refused.value.headers()["Retry-After"]) == ("overloaded", "5")
        sleeper.found = Found(is_ready=True)
        await asyncio.gather(*asked)
        assert (await sleeper.ask()).routes  # their places are free again

    asyncio.run(scenario())


def test_who_has_waited_as_long_as_one_may_is_told_to_come_again():
    async def scenario() -> None:
        with pytest.raises(Unavailable) as refused:
            await Sleeper(hold_seconds=0.01).ask()
        assert (refused.value.status, refused.value.code) == (503, "not_ready")
        assert refused.value.headers()["Retry-After"] == "5"

    asyncio.run(scenario())


def test_a_client_that_leaves_is_dropped_and_nobody_looks_any_more():
    async def scenario() -> None:
        sleeper = Sleeper()
        asked = sleeper.ask()
        await settle()
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        await settle()
        assert len(asyncio.all_tasks()) == 1
        again = sleeper.ask()
        sleeper.found = Found(is_ready=True)
        assert (await again).routes
        assert sleeper.woken == 2

    asyncio.run(scenario())


def test_a_model_that_will_never_be_ready_is_not_waited_for():
    async def scenario() -> None:
        sleeper = Sleeper()
        sleeper.found = Found(trouble="The model's files are damaged.")
        assert (await sleeper.ask()).trouble == "The model's files are damaged."

    asyncio.run(scenario())


# Through the gateway, with a process that has to start


@pytest.fixture
def sleeping(owner: Person, tmp_path: Path) -> Deployment:
    version = store_model(owner, image_model(tmp_path / "shades"))
    return Deployment.objects.create(
        team=owner.team, version=version, name="shades", wanted_replicas=0, min_replicas=0, max_replicas=2
    )


@pytest.mark.django_db(transaction=True)
@pytest.mark.xdist_group("gateway")
def test_requests_to_a_sleeper_are_answered_as_soon_as_its_process_is_ready(site, owner, sleeping, node):
    """The agent's passes run in a thread of their own, as in an agent."""
    over = threading.Event()

    def passes() -> None:
        while not over.is_set():
            supervise_placed(node)
            over.wait(0.1)

    async def scenario() -> list:
        levels = (0, 255, 0, 255)
        asked = [site.ask("POST", PREDICT, owner.secret, content=png(level)) for level in levels]
        return await asyncio.gather(*asked)

    agent = threading.Thread(target=passes)
    agent.start()
    try:
        answers = site.runner.run(scenario())
    finally:
        over.set()
        agent.join()
    assert [answer.status_code for answer in answers] == [200] * 4
    assert [answer.json()["class"] for answer in answers] == ["dark", "bright", "dark", "bright"]
    assert sleeping.scaling_events.get().reason == "A request came while it slept."
    assert sleeping.replicas.get().status == Replica.Status.READY


@pytest.mark.django_db(transaction=True)
@pytest.mark.xdist_group("gateway")
def test_one_that_failed_three_times_is_refused_at_once_with_the_reason(site, owner, sleeping):
    Replica.objects.create(
        deployment=sleeping,
        version=sleeping.version,
        status=Replica.Status.FAILED,
        strikes=3,
        reason="The model's files are damaged.",
    )
    response = site("POST", PREDICT, owner.secret, content=png())
    assert (response.status_code, response.json()["error"]["code"]) == (503, "not_ready")
    assert response.json()["error"]["message"] == "The model's files are damaged."


@pytest.mark.django_db
def test_a_page_that_waits_for_one_that_is_deleted_says_so(owner, sleeping, monkeypatch):
    monkeypatch.setattr("apps.deployments.holding.wake_deployment", lambda pk: Deployment.objects.all().delete())
    page = owner.page.post(f"/demo/{owner.team.slug}/shades/", {"sample": "1"})
    assert page.status_code == 404 and "was deleted" in page.content.decode()


@pytest.mark.django_db
def test_the_demo_page_of_a_sleeper_says_that_it_wakes(owner, sleeping):
    assert "asleep" in owner.page.get(f"/demo/{owner.team.slug}/shades/").content.decode()


@pytest.mark.django_db(transaction=True)
@pytest.mark.xdist_group("gateway")
def test_a_wrong_key_wakes_nobody(site, sleeping, owner):
    ApiKey.objects.filter(user=owner.user).delete()
    assert site("POST", PREDICT, owner.secret, content=png()).status_code == 401
    sleeping.refresh_from_db()
    assert sleeping.wanted_replicas == 0
