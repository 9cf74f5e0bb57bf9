"""A person does the main job in a browser, on a wide screen and on a phone: eight steps, real files, the whole site.

Any console error or failed request fails the test (tests/browsing.py). With SCREENSHOTS=folder in the environment
of the test run every step leaves a picture there.
"""

import json
import os
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.site_helpers import digits, write_iris, write_zip
from tests.stack import Stack
from tests.texts.making import chinese

SCREENSHOTS = os.environ.get("SCREENSHOTS", "")
TRAINING_SECONDS = 180
QUICK = {"epochs": "8", "batch_size": "16"}


class Person:
    """Somebody at the site, on a screen of one width."""

    def __init__(self, page: Page, width: int) -> None:
        self.page = page
        self.width = width

    def see(self, name: str) -> None:
        """Check that nothing sticks out sideways, and keep a picture where one is wanted."""
        self.page.wait_for_load_state()
        too_wide = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert too_wide <= 0, f"{name}: the page is {too_wide} pixels wider than the screen"
        if SCREENSHOTS:
            self.page.wait_for_timeout(300)  # pictures and curves are still being drawn
            folder = Path(SCREENSHOTS)
            folder.mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=folder / f"{name}-{self.width}.png", full_page=True)

    def press(self, name: str | re.Pattern) -> None:
        self.page.get_by_role("button", name=name).locator("visible=true").first.click()

    def follow(self, name: str | re.Pattern) -> None:
        self.page.get_by_role("link", name=name).locator("visible=true").first.click()

    def await_status(self, status: str, seconds: float) -> None:
        badge = self.page.locator(f".page-badge [data-status={status}]").first
        expect(badge).to_be_visible(timeout=seconds * 1000)

    def sign_in(self, stack: Stack) -> None:
        link = re.search(r"/sign-in/link/\S+", stack.manage("sign_in_link", "admin"))[0]
        self.page.goto(stack.base_url + link)
        self.see("1-sign-in")
        self.press(re.compile("Sign in as"))
        self.page.goto(stack.base_url + "/")
        self.see("1-home")

    def upload(self, path: Path, name: str) -> None:
        self.page.goto("/data/upload/")
        self.see("2-upload-empty")
        self.page.locator("#file-input").set_input_files(path)
        self.page.get_by_label("Name", exact=False).first.fill(name)
        self.see("2-upload-chosen")
        self.press("Create data set")
        self.await_status("ready", 60)
        expect(self.page.get_by_role("heading", name=name).first).to_be_visible()
        self.see("2-data")

    def train(self, model: str, settings: dict[str, str]) -> None:
        self.follow("Train on this")
        self.see("3-train-basic")
        self.page.get_by_label("Model name").fill(model)
        if settings:
            self.page.locator("details.more summary").filter(has_text="All settings").click()
            for name, value in settings.items():
                self.page.locator(f"#id_{name}").fill(value)
            self.see("3-train-full")
        self.press("Train model")
        expect(self.page).to_have_url(re.compile(r"/jobs/\d+/"))

    def watch(self) -> None:
        self.await_status("running", 60)
        self.see("4-running")
        self.await_status("succeeded", TRAINING_SECONDS)
        expect(self.page).to_have_title(re.compile("Done|Succeeded|✓", re.IGNORECASE))
        self.see("4-done")

    def open_model(self) -> None:
        self.follow("Open the model")
        expect(self.page.get_by_text("Lineage").first).to_be_visible()
        self.see("5-model")

    def compress(self) -> None:
        self.follow("Compress")
        self.see("6-compress-basic")
        self.page.locator("#id_limit_points").fill("5")
        self.page.locator("details.more summary").filter(has_text="Recipes").click()
        self.press("int8")
        expect(self.page.locator("#summary")).to_contain_text("1 recipe")
        self.see("6-compress-recipes")
        self.page.locator("#summary").get_by_role("button", name="Compress").click()
        self.await_status("succeeded", TRAINING_SECONDS)
        expect(self.page.get_by_text("The files are").first).to_be_visible()
        self.see("6-compressed")
        self.follow("Open the model")

    def deploy(self) -> None:
        self.press("Deploy")
        self.await_status("ready", 60)
        expect(self.page.get_by_text("curl", exact=False).first).to_be_visible()
        self.see("7-deployment")

    def open_demo(self) -> None:
        self.follow("Open demo")
        self.see("8-demo")


@pytest.fixture(params=[1440, 390], ids=["wide", "phone"])
def person(request, page, live_stack) -> Person:
    width: int = request.param
    return Person(page(width, base_url=live_stack.base_url), width)


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


def test_a_table_from_upload_to_demo(person, live_stack, tmp_path):
    person.sign_in(live_stack)
    person.upload(write_iris(tmp_path / "iris.csv"), f"Irises at {person.width}")
    person.train(f"irises-{person.width}", {})
    person.watch()
    person.open_model()
    person.deploy()
    person.open_demo()
    person.press("Predict")
    expect(person.page.locator(".demo-answer")).to_have_text(re.compile("setosa|versicolor|virginica"), timeout=20_000)
    person.see("8-table-answer")


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


@WIDE
def test_chinese_texts_from_upload_to_an_answer_while_writing(person, live_stack, tmp_path):
    lines = [json.dumps({"text": text, "label": label}, ensure_ascii=False) for text, label in chinese()]
    (tmp_path / "messages.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    person.sign_in(live_stack)
    person.upload(tmp_path / "messages.jsonl", f"Messages at {person.width}")
    expect(person.page.get_by_text("Han", exact=True)).to_be_visible()
    person.train(f"topics-{person.width}", {"epochs": "20"})
    person.watch()
    person.open_model()
    person.deploy()
    person.open_demo()
    person.page.locator("#demo-text").press_sequentially("这个沙发我要退货")
    expect(person.page.locator(".demo-answer")).to_have_text("退款", timeout=20_000)
    person.see("8-text-answer")
    person.page.locator(".demo-example").first.click()
    expect(person.page.locator("#demo-text")).not_to_have_value("这个沙发我要退货")
    expect(person.page.locator(".demo-answer")).to_be_visible()
