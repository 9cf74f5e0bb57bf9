"""One box finds what the team has by its name, the manual by its words, and nothing of others."""

import pytest
from django.urls import reverse

from apps.dashboard.search import search
from apps.datasets.models import Dataset
from apps.jobs.models import Job
from tests.jobs.making import make_version, submit


@pytest.fixture
def job(member) -> Job:
    version = make_version(member.team, size_bytes=1000)
    Dataset.objects.filter(pk=version.dataset_id).update(name="Chest X-rays")
    return submit(member.team, member.user, version, model_name="lungs")


def titles(person, text: str) -> dict[str, list[str]]:
    return {group.title: [hit.title for hit in group.hits] for group in search(person.team, text)}


def test_words_find_data_and_jobs_in_any_order_and_case(member, job):
    assert titles(member, "RAYS chest")["Data"] == ["Chest X-rays"]
    assert titles(member, "lungs") == {"Jobs": [str(job)]}
    assert "Data" not in titles(member, "chest feet")


@pytest.mark.parametrize("text", ["{pk}", "#{pk}"])
def test_the_number_of_a_job_finds_it(member, job, text):
    assert titles(member, text.format(pk=job.pk))["Jobs"] == [str(job)]


def test_nothing_of_another_team_is_found(stranger, job):
    for text in ("chest", "lungs", str(job.pk)):
        assert not {"Data", "Jobs"} & titles(stranger, text).keys()


def test_examples_and_the_manual_are_found(member):
    found = titles(member, "handwritten digits")
    assert found["Examples"] == ["Handwritten digits"]
    assert titles(member, "scale to zero")["Manual"]


def test_the_page_works_alone_and_answers_htmx_with_the_list(member, job):
    url = reverse("dashboard:search")
    page = member.page.get(url, {"q": "chest"}).content.decode()
    assert "<html" in page and "Chest X-rays" in page
    part = member.page.get(url, {"q": "chest"}, headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in part and reverse("datasets:detail", args=[job.dataset_version.dataset_id]) in part
    assert "Nothing is called “&lt;b&gt;”" in member.page.get(url, {"q": "<b>"}).content.decode()
    assert "hidden" in member.page.get(url, headers={"HX-Request": "true"}).content.decode()


@pytest.mark.parametrize("text", ["9" * 40, "#", "%", "_", "a" * 5000, "\x00x", "' OR 1=1 --"])
def test_odd_texts_find_nothing_and_break_nothing(member, job, text):
    assert member.page.get(reverse("dashboard:search"), {"q": text}).status_code == 200 + 222 * ("\x00" in text)
