"""Trying a version on part of the traffic, promoting it, and going back: over the API, on the pages, and by itself."""

import pytest
from django.urls import reverse

from apps.accounts.models import AuditEvent
from apps.core.errors import Conflict
from apps.deployments.counting import Source, Tally, figures_since
from apps.deployments.endpoints import endpoint_of
from apps.deployments.models import Canary, Deployment, Replica, TrafficChange
from apps.deployments.placing import reconcile
from apps.deployments.rollouts import newest_change_id, promote, roll_back, shares_of, stop_bad_canaries, try_version
from apps.deployments.services import change_deployment, deploy_version
from apps.deployments.traffic import Share
from tests.deployments.conftest import store_model
from tests.inference.models import image_model, table_model

pytestmark = pytest.mark.django_db

NOW = 1_800_000_000.0


@pytest.fixture
def deployment(owner, version) -> Deployment:
    """Version 1 is ready."""
    deployment = deploy_version(team=owner.team, user=owner.user, version=version)
    get_ready(deployment, version)
    return deployment


@pytest.fixture
def newer(owner, version, tmp_path):
    return store_model(owner, image_model(tmp_path / "newer"))


def get_ready(deployment, version) -> None:
    waiting = deployment.replicas.filter(version=version, status=Replica.Status.PENDING)
    for replica in waiting:
        path = f"/sockets/{replica.pk}"
        Replica.objects.filter(pk=replica.pk).update(status=Replica.Status.READY, socket_path=path)


def call(person, method: str, deployment, verb: str, **body):
    send = getattr(person.api, method)
    return send(f"/api/v1/deployments/{deployment.pk}/{verb}/", body, content_type="application/json")


def traffic(person, deployment) -> list[tuple]:
    record = person.api.get(f"/api/v1/deployments/{deployment.pk}/").json()
    return [(item["version"], item["weight"], item["active_weight"], item["ready"]) for item in record["traffic"]]


def active(deployment) -> dict[int, float]:
    endpoint = endpoint_of(Deployment.objects.get(pk=deployment.pk))
    return {route.number: weight for route, weight in endpoint.routes}


def count(deployment, version, *, answers: int, errors: int = 0, seconds: float = 0.01) -> None:
    """As the gateway does when it has asked."""
    tally = Tally()
    source = Source(deployment.pk, version.pk, newest_change_id(deployment))
    for number in range(answers):
        tally.add(source, seconds, is_error=number < errors)
    stop_bad_canaries(tally.flush(now=NOW))


def error(response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


def test_a_trial_gets_its_share_only_when_it_is_ready(owner, deployment, newer):
    answer = call(owner, "post", deployment, "trial", version=2, weight=10)
    assert answer.status_code == 200
    assert traffic(owner, deployment) == [(1, 90, 100.0, 1), (2, 10, 0.0, 0)]
    assert active(deployment) == {1: 100}
    get_ready(deployment, newer)
    assert traffic(owner, deployment) == [(1, 90, 90.0, 1), (2, 10, 10.0, 1)]
    assert active(deployment) == {1: 90, 2: 10}


def test_a_trial_has_its_own_number_of_replicas(owner, deployment, newer):
    try_version(deployment=deployment, user=owner.user, version=newer, weight=20, replicas=2)
    assert deployment.replicas.filter(version=newer, status=Replica.Status.PENDING).count() == 2
    reconcile()
    assert deployment.replicas.count() == 3


def test_promoting_serves_the_old_version_until_the_new_one_is_ready(owner, deployment, version, newer):
    assert call(owner, "post", deployment, "promote", version=2).status_code == 200
    assert active(deployment) == {1: 100}
    get_ready(deployment, newer)
    assert active(deployment) == {2: 100}
    reconcile()
    assert deployment.replicas.get(version=version).status == Replica.Status.STOPPING


def test_rolling_back_during_a_trial_ends_it(owner, deployment, version, newer):
    try_version(deployment=deployment, user=owner.user, version=newer)
    assert call(owner, "post", deployment, "roll-back").json()["version"] == 1
    assert traffic(owner, deployment) == [(1, 100, 100.0, 1)]


def test_rolling_back_after_promoting_serves_what_served_before(owner, deployment, version, newer):
    try_version(deployment=deployment, user=owner.user, version=newer)
    promote(deployment=deployment, user=owner.user, version=newer)
    assert roll_back(deployment=deployment, user=owner.user).version == version
    assert roll_back(deployment=deployment, user=owner.user).version == newer


def test_where_nothing_else_has_served_there_is_nothing_to_go_back_to(owner, deployment):
    assert error(call(owner, "post", deployment, "roll-back")) == (409, "nothing_before")


def test_all_shares_can_be_set_at_once(owner, deployment, newer, tmp_path):
    store_model(owner, image_model(tmp_path / "third"))
    wanted = [{"version": 1, "weight": 60}, {"version": 2, "weight": 30, "replicas": 2}, {"version": 3, "weight": 10}]
    assert call(owner, "put", deployment, "traffic", traffic=wanted).status_code == 200
    assert [(version, weight) for version, weight, *_rest in traffic(owner, deployment)] == [(1, 60), (2, 30), (3, 10)]
    wanted = [{"version": 2, "weight": 30}, {"version": 3, "weight": 70}]
    assert call(owner, "put", deployment, "traffic", traffic=wanted).json()["version"] == 3
    assert error(call(owner, "put", deployment, "traffic", traffic=wanted[:1])) == (422, "weights_do_not_sum")


@pytest.mark.parametrize(
    ("verb", "body", "expected"),
    [
        ("trial", {"version": 1}, (422, "is_stable")),
        ("trial", {"version": 2, "weight": 100}, (422, "out_of_range")),
        ("trial", {"version": 2, "weight": 0}, (422, "out_of_range")),
        ("trial", {"version": 2, "replicas": 9}, (422, "out_of_range")),
        ("trial", {"version": 2, "replicas": 0}, (422, "out_of_range")),
        ("trial", {"version": 7}, (404, "not_found")),
        ("promote", {"version": 7}, (404, "not_found")),
    ],
)
def test_what_cannot_be_is_refused(owner, deployment, newer, verb, body, expected):
    assert error(call(owner, "post", deployment, verb, **body)) == expected
    assert shares_of(deployment) == [Share(deployment.version_id, 100, 1)]


def test_stopping_a_trial_gives_its_traffic_back(owner, deployment, newer):
    try_version(deployment=deployment, user=owner.user, version=newer)
    path = f"/api/v1/deployments/{deployment.pk}/trial/"
    assert owner.api.delete(f"{path}?version=2").status_code == 200
    assert [weight for _version, weight, *_rest in traffic(owner, deployment)] == [100]
    assert error(owner.api.delete(f"{path}?version=2")) == (409, "not_tried")
    assert owner.api.delete(path).status_code == 422


def test_every_change_says_who_when_and_what(owner, member, deployment, newer):
    try_version(deployment=deployment, user=member.user, version=newer)
    promote(deployment=deployment, user=owner.user, version=newer)
    found = call(owner, "get", deployment, "changes").json()
    assert [(item["kind"], item["made_by"]) for item in found] == [
        ("promoted", "olga"), ("changed", "max"), ("created", "olga"),
    ]  # fmt: skip
    assert found[1]["traffic"] == [
        {"version": 1, "weight": 90, "replicas": 1}, {"version": 2, "weight": 10, "replicas": 1},
    ]  # fmt: skip
    audited = AuditEvent.objects.get(action="deployment.traffic_changed")
    assert (audited.actor, audited.details) == (member.user, {"traffic": "90 % v1, 10 % v2"})


def test_a_version_of_another_task_is_not_tried(owner, deployment, tmp_path):
    table = store_model(owner, table_model(tmp_path / "table"), "ages")
    with pytest.raises(Conflict, match="Deploy it under a name of its own"):
        try_version(deployment=deployment, user=owner.user, version=table)


def test_strangers_and_viewers_change_nothing(stranger, viewer, deployment, newer):
    for verb, body in (("trial", {"version": 2}), ("promote", {"version": 2}), ("roll-back", {})):
        assert call(stranger, "post", deployment, verb, **body).status_code == 404
        assert call(viewer, "post", deployment, verb, **body).status_code == 403
    assert call(stranger, "put", deployment, "traffic", traffic=[{"version": 2, "weight": 100}]).status_code == 404
    assert call(viewer, "put", deployment, "traffic", traffic=[{"version": 2, "weight": 100}]).status_code == 403
    for verb in ("changes", "figures"):
        assert call(stranger, "get", deployment, verb).status_code == 404
        assert call(viewer, "get", deployment, verb).status_code == 200
    for name in ("try", "stop_trial", "promote", "roll_back"):
        url = reverse(f"deployments:{name}", args=[deployment.pk])
        assert stranger.page.post(url, {"version": newer.pk}).status_code == 404
        assert viewer.page.post(url, {"version": newer.pk}).status_code == 403
    assert TrafficChange.objects.count() == 1


# Stopped by itself


@pytest.fixture
def trial(owner, deployment, newer) -> Deployment:
    try_version(deployment=deployment, user=owner.user, version=newer)
    get_ready(deployment, newer)
    return deployment


def test_a_canary_with_errors_loses_its_traffic_and_the_page_says_why(owner, trial, version, newer):
    count(trial, version, answers=450)
    count(trial, newer, answers=49, errors=20)
    assert active(trial) == {1: 90, 2: 10}
    count(trial, newer, answers=1)
    assert active(trial) == {1: 100}
    assert traffic(owner, trial)[1][:3] == (2, 0, 0.0)
    record = owner.api.get(f"/api/v1/deployments/{trial.pk}/").json()
    assert record["traffic"][1]["replicas"] == 0
    reason = "20 of its 50 answers were server errors (40.0 %); of the stable version's 0.0 %."
    assert trial.traffic_changes.first().reason == reason
    assert AuditEvent.objects.get(action="deployment.stopped").details["reason"] == reason
    page = owner.page.get(reverse("deployments:detail", args=[trial.pk])).content.decode()
    assert "Version 2 gets no more traffic." in page
    assert "20 of its 50 answers were server errors (40.0 %)" in page


def test_a_slow_canary_loses_its_traffic(trial, version, newer):
    count(trial, version, answers=100, seconds=0.03)
    count(trial, newer, answers=60, seconds=0.09)
    canary = Canary.objects.get()
    assert canary.weight == 0
    assert "99th percentile" in canary.stopped_reason


def test_one_that_does_as_well_goes_on(trial, version, newer):
    count(trial, version, answers=100, errors=10, seconds=0.04)
    count(trial, newer, answers=100, errors=11, seconds=0.05)
    assert Canary.objects.get().weight == 10


def test_the_processes_of_a_stopped_canary_end(trial, version, newer):
    count(trial, newer, answers=50, errors=50)
    assert trial.replicas.get(version=newer).status == Replica.Status.STOPPING
    assert trial.replicas.get(version=version).status == Replica.Status.READY


def test_figures_of_a_trial_before_do_not_count_against_the_next(owner, trial, newer):
    count(trial, newer, answers=40, errors=40)
    try_version(deployment=trial, user=owner.user, version=newer, weight=20)
    count(trial, newer, answers=49, errors=1)
    assert Canary.objects.get().weight == 20


def test_a_trial_that_was_changed_while_it_was_judged_goes_on(owner, trial, newer, monkeypatch):
    def change_and_read(sources):
        found = figures_since(list(sources))
        try_version(deployment=trial, user=owner.user, version=newer, weight=30)
        return found

    monkeypatch.setattr("apps.deployments.rollouts.figures_since", change_and_read)
    count(trial, newer, answers=60, errors=60)
    assert Canary.objects.get().weight == 30


def test_limits_can_be_set(owner, trial, newer):
    limits = {"min_answers": 10, "max_error_points": 50.0}
    changed = owner.api.patch(f"/api/v1/deployments/{trial.pk}/", limits, content_type="application/json").json()
    assert {name: changed[name] for name in limits} == limits
    count(trial, newer, answers=10, errors=5)
    assert Canary.objects.get().weight == 10
    count(trial, newer, answers=10, errors=6)
    assert Canary.objects.get().weight == 0


def test_the_figures_are_told_per_version(owner, trial, version, newer):
    count(trial, version, answers=30, errors=3, seconds=0.02)
    found = call(owner, "get", trial, "figures").json()
    since = {item["version"]: item["since_change"] for item in found["versions"]}
    assert (since[1]["answers"], since[1]["errors"]) == (30, 3)
    assert since[1]["p95_seconds"] == pytest.approx(0.02, rel=0.03)
    assert (since[2]["answers"], since[2]["p50_seconds"]) == (0, None)


# Pages


def test_the_page_offers_what_can_be_done_and_says_what_is_so(owner, deployment, newer):
    detail = reverse("deployments:detail", args=[deployment.pk])
    assert 'id="roll-back"' not in owner.page.get(detail).content.decode()
    owner.page.post(reverse("deployments:try", args=[deployment.pk]), {"version": newer.pk, "weight": 25})
    page = owner.page.get(detail).content.decode()
    for text in ("75 %", "25 %", "Version 2 is not ready yet", "Roll back to v1", "0 so far"):
        assert text in page
    owner.page.post(reverse("deployments:promote", args=[deployment.pk]), {"version": newer.pk})
    owner.page.post(reverse("deployments:roll_back", args=[deployment.pk]))
    deployment.refresh_from_db()
    assert deployment.version.number == 1
    assert "Rolled back" in owner.page.get(detail).content.decode()


def test_a_version_that_cannot_start_is_told_and_started_again_on_a_click(owner, deployment, newer):
    try_version(deployment=deployment, user=owner.user, version=newer)
    failed = {"status": Replica.Status.FAILED, "strikes": 3, "reason": "Its files are damaged."}
    deployment.replicas.filter(version=newer).update(**failed)
    page = owner.page.get(reverse("deployments:detail", args=[deployment.pk])).content.decode()
    for text in ("Version 2 failed three times in a row", "Its files are damaged.", "Try again"):
        assert text in page
    owner.page.post(reverse("deployments:retry", args=[deployment.pk]))
    assert deployment.replicas.filter(version=newer).last().status == Replica.Status.PENDING
    assert active(deployment) == {1: 100}


def test_the_figures_are_asked_for_again_and_again(owner, deployment):
    htmx = {"HX-Request": "true", "HX-Target": "traffic"}
    partial = owner.page.get(reverse("deployments:detail", args=[deployment.pk]), headers=htmx)
    assert partial.status_code == 200
    assert "<html" not in partial.content.decode()
    assert 'hx-trigger="every 2s,' in partial.content.decode()


def test_a_percent_that_cannot_be_is_told(owner, deployment, newer):
    url = reverse("deployments:try", args=[deployment.pk])
    refused = owner.page.post(url, {"version": newer.pk, "weight": 0}, headers={"Accept": "application/json"})
    assert refused.status_code == 422
    assert not Canary.objects.exists()


def test_the_page_of_a_version_offers_to_try_it_where_another_one_serves(owner, deployment, version, newer):
    def page() -> str:
        url = reverse("registry:version", args=[newer.model_id, newer.number])
        return owner.page.get(url).content.decode()

    assert "Try on 10 % of the traffic" in page()
    owner.page.post(reverse("deployments:try", args=[deployment.pk]), {"version": newer.pk})
    assert Canary.objects.get().weight == 10
    assert "Try on 10 % of the traffic" not in page()
    assert "On trial in" in page()
    own = owner.page.get(reverse("registry:version", args=[version.model_id, version.number]))
    assert "Try on 10 %" not in own.content.decode()


def test_changing_the_version_is_a_promotion_and_can_be_taken_back(owner, deployment, version, newer):
    change_deployment(deployment=deployment, user=owner.user, version=newer)
    assert roll_back(deployment=deployment, user=owner.user).version == version
