"""A person does the main job in a browser, on a wide screen and on a phone: eight steps, real files, the whole site.

Any console error or failed request fails the test (tests/browsing.py). The other tasks are in
test_every_task_from_upload_to_demo.py.
"""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.visiting import WIDTHS, Person
from tests.site_helpers import digits, write_iris, write_zip

QUICK = {"epochs": "8", "batch_size": "16"}


@pytest.fixture(params=WIDTHS.values(), ids=WIDTHS)
def person(request, page, live_stack) -> Person:
    width: int = request.param
    return Person(page(width, base_url=live_stack.base_url), width, "digits")


def test_pictures_from_upload_to_demo(person, live_stack, tmp_path):
    name = f"Digits at {person.width}"
    person.sign_in(live_stack)
    person.upload(write_zip(tmp_path / "digits.zip", digits("027", 60)), name)
    person.train(f"digits-{person.width}", QUICK)
    person.watch()
    expect(person.page.get_by_text("Confusion matrix", exact=False).first).to_be_visible()
    person.open_model()
    person.compress()
    person.deploy()
    person.open_demo()
    seven = tmp_path / "7.png"
    seven.write_bytes(digits("7", 60)["digits/7/0007.png"])
    person.page.locator("#demo-file").set_input_files(seven)
    expect(person.page.locator(".demo-answer")).to_have_text("7", timeout=20_000)
    person.see("8-demo-answer")


WIDE = pytest.mark.parametrize("person", [1440], ids=["wide"], indirect=True)


@WIDE
def test_a_click_is_not_lost_when_the_page_changes_under_it(person, live_stack, tmp_path):
    """Leaving the name refreshes the forecast, and the button that is pressed with it."""
    person.sign_in(live_stack)
    person.upload(write_iris(tmp_path / "iris.csv"), f"Slow clicks at {person.width}")
    person.follow("Train on this")
    person.page.get_by_label("Model name").fill(f"slow-{person.width}")
    button = person.page.get_by_role("button", name="Train model").locator("visible=true").first
    button.scroll_into_view_if_needed()
    box = button.bounding_box()
    person.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    with person.page.expect_response(lambda response: "/jobs/new/" in response.url) as answered:
        person.page.mouse.down()
    answered.value.finished()
    person.page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    person.page.mouse.up()
    expect(person.page).to_have_url(re.compile(r"/jobs/\d+/"))
