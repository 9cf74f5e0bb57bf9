"""Somebody makes the demo page of a model of texts a talk, in the browser, and changes what it says."""

import html

import pytest

from apps.deployments.models import Deployment
from apps.deployments.services import change_deployment
from tests.people import Person

pytestmark = [pytest.mark.django_db, pytest.mark.xdist_group("texts")]

CLASSES = ["delivery", "praise", "refund"]


def address(deployment: Deployment) -> str:
    return f"/deployments/{deployment.pk}/demo-page/"


def form_of(person: Person, deployment: Deployment) -> str:
    return html.unescape(person.page.get(address(deployment)).content.decode())


def save(person: Person, deployment: Deployment, **values: str):
    return person.page.post(address(deployment), {"page": "chat", "notice": ""} | values)


def say(person: Person, deployment: Deployment, text: str) -> str:
    asked = person.page.post(
        f"/demo/{deployment.team.slug}/{deployment.name}/", {"text": text}, headers={"HX-Request": "true"}
    )
    return html.unescape(asked.content.decode())


def test_the_deployment_leads_to_a_form_with_an_answer_for_each_class(owner, topics):
    assert address(topics) in owner.page.get(f"/deployments/{topics.pk}/").content.decode()
    page = form_of(owner, topics)
    assert [name in page for name in (*CLASSES, "A talk", "Offers to a customer")] == [*[True] * 4, False]


def test_what_is_written_is_what_the_talk_says(owner, topics):
    answer = "It is on its way.\r\nYou find it under My orders."
    saved = save(owner, topics, greeting="Welcome!", answer_0=answer, unsure_below="40")
    assert saved.status_code == 302
    topics.refresh_from_db()
    assert topics.page == "chat" and topics.page_settings == {
        "greeting": "Welcome!", "unsure_below": 0.4, "answers": {"delivery": answer.replace("\r\n", "\n")},
    }  # fmt: skip
    assert "Welcome!" in owner.page.get(f"/demo/{topics.team.slug}/{topics.name}/").content.decode()
    assert "You find it under My orders." in say(owner, topics, "where is my lamp")
    page = form_of(owner, topics)
    assert "It is on its way." in page and 'value="40' in page


def test_another_page_keeps_what_the_talk_said_and_an_answer_can_be_taken_away(owner, topics):
    save(owner, topics, answer_0="It is on its way.", answer_1="Thank you.")
    save(owner, topics, page="", answer_0="It is on its way.", answer_1="")
    topics.refresh_from_db()
    assert topics.page == "" and topics.page_settings == {"answers": {"delivery": "It is on its way."}}
    assert "demo-answer" in say(owner, topics, "where is my lamp")


def test_answers_to_classes_that_the_form_does_not_show_stay(owner, topics):
    change_deployment(deployment=topics, user=owner.user, page="chat", page_settings={"answers": {"of v1": "Once."}})
    save(owner, topics, answer_2="You get it back.")
    topics.refresh_from_db()
    assert topics.page_settings["answers"] == {"of v1": "Once.", "refund": "You get it back."}


def test_what_cannot_be_is_told_beside_its_field(owner, topics):
    for wrong in ({"unsure_below": "140"}, {"answer_0": "x" * 2001}, {"page": "radio"}):
        refused = save(owner, topics, **wrong)
        assert refused.status_code == 422 and f"id_{min(wrong)}_error" in refused.content.decode()
    topics.refresh_from_db()
    assert (topics.page, topics.page_settings) == ("", {})


def test_only_those_who_may_change_it_see_the_form(owner, viewer, stranger, topics):
    assert viewer.page.get(address(topics)).status_code == 403
    assert save(viewer, topics).status_code == 403
    assert address(topics) not in viewer.page.get(f"/deployments/{topics.pk}/").content.decode()
    assert stranger.page.get(address(topics)).status_code == 404
