"""Somebody chooses a threshold on a model's page and keeps it in the demo page of a deployment."""

import html

import pytest

from apps.deployments.models import Deployment
from apps.jobs.models import Job
from apps.registry.models import ModelVersion
from tests.people import Person

pytestmark = [pytest.mark.django_db, pytest.mark.xdist_group("demo")]

COUNTS = {"items": 40, "positives": 4, "flagged": list(range(100, -1, -1)), "found": [4] * 101}


@pytest.fixture
def measured(version: ModelVersion) -> ModelVersion:
    operating = [COUNTS | {"class": name} for name in ("bright", "dark")]
    Job.objects.create(team=version.model.team, kind="train", output_version=version, result={"operating": operating})
    return version


def deploy(owner: Person, version: ModelVersion, name: str = "shades", **fields) -> Deployment:
    return Deployment.objects.create(team=owner.team, version=version, name=name, **fields)


def model_page(person: Person, version: ModelVersion) -> str:
    return person.page.get(f"/models/{version.model_id}/versions/{version.number}/").content.decode()


def settings_page(deployment: Deployment) -> str:
    return f"/deployments/{deployment.pk}/demo-page/"


def test_the_model_leads_to_the_page_of_its_deployment(owner, measured):
    assert "Use this threshold" not in model_page(owner, measured), "nothing could use it"
    assert "Deploy it, and its page" in model_page(owner, measured)
    only = deploy(owner, measured)
    page = model_page(owner, measured)
    assert f'formaction="{settings_page(only)}"' in page and "in shades" not in page
    other = deploy(owner, measured, "night")
    page = model_page(owner, measured)
    assert all(f'formaction="{settings_page(item)}"' in page for item in (only, other)) and "in night" in page


def test_the_form_is_filled_in_with_what_was_chosen_and_keeps_it(owner, measured):
    shades = deploy(owner, measured)
    chosen = {"page": "screening", "positive": "bright", "threshold": "30"}
    form = owner.page.get(settings_page(shades), chosen).content.decode()
    assert '<option value="screening" selected>' in form and '<option value="bright" selected>' in form
    assert 'value="30"' in form
    assert owner.page.post(settings_page(shades), chosen | {"notice": "No device."}).status_code == 302
    shades.refresh_from_db()
    assert shades.page == "screening"
    assert shades.page_settings == {"notice": "No device.", "positive": "bright", "threshold": 0.3}
    assert 'value="30"' in owner.page.get(settings_page(shades)).content.decode()


def test_the_models_page_begins_at_the_threshold_that_is_kept(owner, measured):
    assert 'max="100" value="50"' in model_page(owner, measured)
    deploy(owner, measured, page="screening", page_settings={"positive": "dark", "threshold": 0.0})
    page = model_page(owner, measured)
    assert 'max="100" value="0"' in page and '<option value="dark" selected>' in page


def test_what_was_kept_stays_where_another_page_is_chosen(owner, measured):
    shades = deploy(owner, measured, page="screening", page_settings={"positive": "dark", "threshold": 0.2})
    owner.page.post(settings_page(shades), {"page": "", "positive": "dark", "threshold": "20"})
    shades.refresh_from_db()
    assert (shades.page, shades.page_settings) == ("", {"positive": "dark", "threshold": 0.2})
    assert shades.decision is None


def test_what_cannot_be_is_told_beside_its_field(owner, measured):
    shades = deploy(owner, measured)
    sent = {"page": "screening", "positive": "bright", "threshold": "30"}
    for field, value in (("positive", ""), ("positive", "green"), ("threshold", "101"), ("threshold", "2.5")):
        refused = owner.page.post(settings_page(shades), sent | {field: value})
        page = html.unescape(refused.content.decode())
        assert refused.status_code == 422 and f"id_{field}_error" in page, (field, value)
    shades.refresh_from_db()
    assert (shades.page, shades.page_settings) == ("", {})


def test_who_may_not_write_is_offered_nothing(owner, viewer, measured):
    shades = deploy(owner, measured)
    assert "Use this threshold" not in model_page(viewer, measured)
    assert viewer.page.get(settings_page(shades), {"page": "screening"}).status_code == 403
