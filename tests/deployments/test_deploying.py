"""Deploying, changing and deleting, over the API and on the pages."""

import pytest
from django.urls import reverse

from apps.accounts.models import AuditEvent
from apps.core.errors import Conflict, NotFound, Unprocessable
from apps.deployments.models import Deployment, Replica
from apps.deployments.services import deploy_version
from tests.deployments.conftest import store_model
from tests.inference.models import image_model, table_model

pytestmark = pytest.mark.django_db

API = "/api/v1/deployments/"


@pytest.fixture
def deployment(owner, version) -> Deployment:
    return deploy_version(team=owner.team, user=owner.user, version=version)


def post(person, **fields):
    return person.api.post(API, fields, content_type="application/json")


def patch(person, deployment, **fields):
    return person.api.patch(f"{API}{deployment.pk}/", fields, content_type="application/json")


def error(response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


def test_one_call_deploys_the_newest_version(owner, version, node):
    made = post(owner, model="shades").json()
    assert made["name"] == "shades"
    assert made["status"] == "starting"
    assert made["task"] == "image_classification"
    assert made["model"] == {"id": version.model_id, "name": "shades"}
    assert made["version"] == 1
    assert made["endpoint"] == "http://testserver/v1/models/shades/predict"
    assert made["demo_url"] == f"http://testserver/demo/{owner.team.slug}/shades/"
    assert Replica.objects.get(deployment=made["id"]).allocation.team == owner.team
    assert AuditEvent.objects.filter(action="deployment.created").count() == 1


def test_without_a_name_it_gets_a_free_one(owner, deployment):
    assert post(owner, model="shades").json()["name"] == "shades-2"


def test_the_same_name_twice_is_refused(owner, deployment):
    response = post(owner, model="shades", name="shades")
    assert error(response) == (409, "name_taken")
    assert response.json()["error"]["field"] == "name"
    assert Deployment.objects.count() == 1


@pytest.mark.parametrize("name", ["Two Words", "../up", "UPPER", "x" * 81])
def test_a_name_that_cannot_stand_in_an_address_is_refused(owner, version, name):
    assert error(post(owner, model="shades", name=name)) == (422, "invalid_name")


def test_unknown_models_and_versions_are_not_found(owner, stranger, version):
    assert error(post(owner, model="nothing")) == (404, "not_found")
    assert error(post(owner, model="shades", version=9)) == (404, "not_found")
    assert error(post(stranger, model=version.model_id)) == (404, "not_found")
    with pytest.raises(NotFound):
        deploy_version(team=stranger.team, user=stranger.user, version=version)


def test_a_version_without_files_cannot_be_deployed(owner, version):
    version.artifacts.all().delete()
    with pytest.raises(Unprocessable, match="no files"):
        deploy_version(team=owner.team, user=owner.user, version=version)


def test_viewers_look_but_do_not_deploy(viewer, deployment):
    assert viewer.api.get(API).json()["count"] == 1
    assert post(viewer, model="shades").status_code == 403
    assert patch(viewer, deployment, is_public=True).status_code == 403
    assert viewer.api.delete(f"{API}{deployment.pk}/").status_code == 403
    assert viewer.page.post(reverse("deployments:delete", args=[deployment.pk])).status_code == 403
    assert Deployment.objects.get().is_public is False


def test_strangers_see_nothing(stranger, deployment):
    assert stranger.api.get(API).json()["count"] == 0
    assert stranger.api.get(f"{API}{deployment.pk}/").status_code == 404
    assert patch(stranger, deployment, is_public=True).status_code == 404
    assert stranger.api.delete(f"{API}{deployment.pk}/").status_code == 404
    for name in ("detail", "sample"):
        assert stranger.page.get(reverse(f"deployments:{name}", args=[deployment.pk])).status_code == 404
    for name in ("change", "retry", "delete"):
        assert stranger.page.post(reverse(f"deployments:{name}", args=[deployment.pk])).status_code == 404


def test_a_name_filters_the_list(owner, deployment):
    assert owner.api.get(f"{API}?name=shades").json()["count"] == 1
    assert owner.api.get(f"{API}?name=shade").json()["count"] == 0


def test_what_is_wanted_can_be_changed(owner, deployment, tmp_path):
    newer = store_model(owner, image_model(tmp_path / "newer"))
    changed = patch(owner, deployment, is_public=True, version=newer.number, wanted_replicas=2).json()
    assert (changed["is_public"], changed["version"], changed["wanted_replicas"]) == (True, 2, 2)
    assert deployment.replicas.filter(version=newer, status=Replica.Status.PENDING).count() == 2
    assert deployment.replicas.exclude(version=newer).get().status == Replica.Status.STOPPED


@pytest.mark.parametrize("wanted", [-1, 9])
def test_the_number_of_replicas_has_limits(owner, deployment, wanted):
    assert error(patch(owner, deployment, wanted_replicas=wanted)) == (422, "out_of_range")


def test_a_version_of_another_task_is_refused(owner, deployment, tmp_path):
    table = store_model(owner, table_model(tmp_path / "table"), "ages")
    url = reverse("deployments:change", args=[deployment.pk])
    assert owner.page.post(url, {"version": table.pk}, headers={"Accept": "application/json"}).status_code == 422
    assert error(patch(owner, deployment, version=7)) == (404, "not_found")


def test_deleting_frees_the_name(owner, deployment):
    assert owner.api.delete(f"{API}{deployment.pk}/").status_code == 204
    assert not Replica.objects.exists()
    assert post(owner, model="shades", name="shades").status_code == 201


def test_a_model_in_use_says_so_by_conflict(owner, version, deployment):
    with pytest.raises(Conflict, match="already has a deployment"):
        deploy_version(team=owner.team, user=owner.user, version=version, name="shades")


# Pages


def test_the_button_of_a_model_deploys_and_leads_to_the_deployment(owner, version):
    response = owner.page.post(reverse("deployments:create"), {"version": version.pk})
    made = Deployment.objects.get()
    assert response.status_code == 302
    assert response.url == reverse("deployments:detail", args=[made.pk])
    assert made.version == version


def test_a_taken_name_is_told_beside_the_field(owner, version, deployment):
    response = owner.page.post(reverse("deployments:create"), {"version": version.pk, "name": "shades"})
    assert response.status_code == 422
    assert "already has a deployment called" in response.content.decode()


def test_another_teams_version_cannot_be_deployed_from_the_form(stranger, version):
    assert stranger.page.post(reverse("deployments:create"), {"version": version.pk}).status_code == 422
    assert not Deployment.objects.exists()


def test_the_page_asks_again_while_it_starts_and_stops_when_it_is_settled(owner, deployment):
    url = reverse("deployments:detail", args=[deployment.pk])
    assert 'hx-trigger="every 1s"' in owner.page.get(url).content.decode()
    htmx = {"HX-Request": "true", "HX-Target": "replicas"}
    assert owner.page.get(url, headers=htmx).status_code == 200
    deployment.replicas.update(status=Replica.Status.READY)
    partial = owner.page.get(url, headers=htmx)
    assert partial.status_code == 286
    assert "hx-trigger" not in partial.content.decode()
    assert 'id="deployment-badge" hx-swap-oob="true"' in partial.content.decode()
    assert "<html" not in partial.content.decode()


def test_when_the_replicas_are_settled_the_card_of_the_traffic_is_asked_for_again(owner, deployment):
    address, headers = f"/deployments/{deployment.pk}/", {"HX-Request": "true", "HX-Target": "replicas"}
    assert "replicas-settled from:body" in owner.page.get(address).content.decode()
    assert "HX-Trigger" not in owner.page.get(address, headers=headers)
    deployment.replicas.update(status=Replica.Status.READY)
    assert owner.page.get(address, headers=headers)["HX-Trigger"] == "replicas-settled"


def test_the_page_says_why_a_replica_failed(owner, deployment):
    reason = "The model's files are damaged.\nTraceback: line 7"
    deployment.replicas.update(status=Replica.Status.FAILED, strikes=3, exit_code=3, reason=reason)
    page = owner.page.get(reverse("deployments:detail", args=[deployment.pk])).content.decode()
    for text in ("The model&#x27;s files are damaged.", "Traceback: line 7", "exit code 3", "Try again"):
        assert text in page


def test_trying_again_starts_a_new_replica(owner, deployment):
    deployment.replicas.update(status=Replica.Status.FAILED, strikes=3)
    owner.page.post(reverse("deployments:retry", args=[deployment.pk]))
    assert deployment.replicas.last().status == Replica.Status.PENDING


def test_sharing_and_unsharing_the_demo(owner, deployment):
    url = reverse("deployments:change", args=[deployment.pk])
    owner.page.post(url, {"is_public": "yes"})
    deployment.refresh_from_db()
    assert deployment.is_public
    owner.page.post(url, {"wanted_replicas": "2"})
    deployment.refresh_from_db()
    assert (deployment.is_public, deployment.wanted_replicas) == (True, 2)
    owner.page.post(url, {"is_public": "no"})
    deployment.refresh_from_db()
    assert not deployment.is_public


def test_the_snippets_carry_the_address_and_the_sample(owner, deployment):
    page = owner.page.get(reverse("deployments:detail", args=[deployment.pk]))
    assert page.context["curl"] == (
        "curl 'http://testserver/v1/models/shades/predict?top_k=3' \\\n"
        '  -H "Authorization: Bearer $LEPTON_API_KEY" \\\n'
        "  -H 'Content-Type: application/octet-stream' \\\n"
        "  --data-binary @sample.png"
    )
    assert "client.load_model('shades')" in page.context["python"]
    sample = owner.page.get(reverse("deployments:sample", args=[deployment.pk]))
    assert b"".join(sample.streaming_content).startswith(b"\x89PNG")
    assert sample["Content-Disposition"].startswith("attachment")


def test_the_list_shows_every_deployment_or_what_to_do_first(owner, version):
    assert "Nothing is deployed yet" in owner.page.get(reverse("deployments:list")).content.decode()
    deploy_version(team=owner.team, user=owner.user, version=version)
    assert "shades" in owner.page.get(reverse("deployments:list")).content.decode()
