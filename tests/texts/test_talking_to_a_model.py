"""A demo page as a talk: each class has an answer, and what the model is not sure of is not answered by it."""

import html

import pytest
from django.test import Client

from apps.core.errors import Unprocessable
from apps.deployments.models import Deployment
from apps.deployments.pages import check_page
from apps.deployments.services import change_deployment
from tests.people import Person

pytestmark = [pytest.mark.django_db, pytest.mark.xdist_group("texts")]

HTMX = {"HX-Request": "true", "HX-Target": "chat-log"}
SETTINGS = {"answers": {"delivery": "It is on its way."}, "greeting": "Welcome!", "unknown": "Pardon?"}


@pytest.fixture
def chat(owner: Person, topics: Deployment) -> Deployment:
    return change_deployment(deployment=topics, user=owner.user, page="chat", page_settings=SETTINGS)


def say(deployment: Deployment, text: str, person: Person | None = None, **headers: str):
    client = person.page if person else Client()
    return client.post(f"/demo/{deployment.team.slug}/{deployment.name}/", {"text": text}, headers=headers)


def read(response) -> str:
    return html.unescape(response.content.decode())


def test_it_greets_and_answers_what_it_knows(owner, chat):
    page = read(owner.page.get(f"/demo/{chat.team.slug}/{chat.name}/"))
    assert "Welcome!" in page and 'hx-target="#chat-log"' in page
    turn = read(say(chat, "where is my sofa", owner, **HTMX))
    assert "where is my sofa" in turn and "It is on its way." in turn and "is-unsure" not in turn
    assert "Welcome!" not in turn, "only what is new"


def test_without_javascript_the_page_shows_the_newest_turn(owner, chat):
    page = read(say(chat, "where is my sofa", owner))
    assert "Welcome!" in page and "It is on its way." in page


def test_it_says_when_it_does_not_know(owner, chat):
    change_deployment(deployment=chat, user=owner.user, page_settings=SETTINGS | {"unsure_below": 1.0})
    turn = read(say(chat, "xylophone quartz", owner, **HTMX))
    assert "Pardon?" in turn and "is-unsure" in turn and "not sure" in turn


def test_a_class_without_an_answer_is_named(owner, chat):
    change_deployment(deployment=chat, user=owner.user, page_settings={"unsure_below": 0})
    outcome = say(chat, "where is my sofa", owner, **HTMX)
    assert '<p dir="auto">delivery</p>' in read(outcome)


def test_nothing_said_is_told_and_stays_in_the_talk(owner, chat):
    response = say(chat, "  ", owner, **HTMX)
    assert response.status_code == 400 and "is-error" in read(response)
    assert response["HX-Retarget"] == "#chat-log"


def test_what_was_said_is_written_as_text(owner, chat):
    assert "<script>" not in say(chat, "<script>alert(1)</script>", owner, **HTMX).content.decode()


def test_programs_set_the_page_and_are_told_what_is_wrong(owner, viewer, topics):
    url = f"/api/v1/deployments/{topics.pk}/"
    body = {"page": "chat", "page_settings": SETTINGS}
    changed = owner.api.patch(url, body, content_type="application/json")
    assert changed.status_code == 200 and changed.json()["page"] == "chat"
    assert viewer.api.patch(url, body, content_type="application/json").status_code == 403
    for wrong, field in (
        ({"page": "radio"}, "page"),
        ({"page_settings": {"answers": []}}, "page_settings"),
        ({"page_settings": {"answers": {"delivery": 1}}}, "page_settings"),
        ({"page_settings": {"unsure_below": 2}}, "page_settings"),
        ({"page_settings": {"colour": "red"}}, "page_settings"),
    ):
        refused = owner.api.patch(url, wrong, content_type="application/json")
        assert (refused.status_code, refused.json()["error"]["field"]) == (422, field), wrong
    topics.refresh_from_db()
    assert topics.page_settings == SETTINGS


def test_only_models_of_texts_talk():
    for task, known in (("image_classification", "screening"), ("speech_recognition", "none")):
        with pytest.raises(Unprocessable, match=f'no page "chat" .* There are: {known}'):
            check_page(task, "chat", {})
