"""For every task: a person uploads data in the browser, trains on them with the fast preset, watches it end, deploys
the model and gets a right answer on its demo page.

Every run of the tests goes the short ones; ``make test-journeys`` goes all of them, on a wide screen and on a phone.
JOURNEY= (tasks, with commas) chooses.
"""

import os

import pytest
from playwright.sync_api import expect

from tests.browser.journeys import JOURNEYS, Journey
from tests.browser.visiting import WIDTHS, Person
from workers.contract import IMAGE_CLASSIFICATION
from workers.domains import TASKS

CHOSEN = [name for name in os.environ.get("JOURNEY", "").split(",") if name]
ARE_ALL = bool(CHOSEN) or os.environ.get("JOURNEYS") == "all"


def chosen_journeys() -> list:
    known = {journey.task: journey for journey in JOURNEYS}
    if unknown := set(CHOSEN) - set(known):
        raise pytest.UsageError(f"There is no journey of {', '.join(unknown)}. There are: {', '.join(known)}")
    return [
        pytest.param(known[task], width, id=f"{task}-{screen}")
        for task in CHOSEN or known
        for screen, width in WIDTHS.items()
        if ARE_ALL or width in known[task].widths
    ]


@pytest.mark.parametrize(("journey", "width"), chosen_journeys())
def test_from_upload_to_demo(journey: Journey, width: int, page, live_stack, tmp_path):
    person = Person(page(width, base_url=live_stack.base_url), width, journey.task)
    name = f"{journey.task}-{width}"
    person.sign_in(live_stack)
    person.upload(journey.bring(tmp_path), name.replace("_", " "))
    expect(person.page.get_by_text(journey.kind, exact=True).first).to_be_visible()
    person.train(name, journey.settings, preset="fast")
    person.watch()
    person.open_model()
    person.deploy()
    person.open_demo()
    journey.ask(person, tmp_path)
    person.see("9-demo")


def test_every_task_has_a_journey():
    """That of images of one class each is the main job (test_main_job_in_the_browser.py)."""
    assert {journey.task for journey in JOURNEYS} | {IMAGE_CLASSIFICATION} == set(TASKS)
