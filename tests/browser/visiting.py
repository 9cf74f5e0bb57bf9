"""Somebody comes to the running site with a browser, and goes from an upload to a demo page.

With SCREENSHOTS=folder in the environment of the test run every step leaves a picture there.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.stack import Stack

SCREENSHOTS = os.environ.get("SCREENSHOTS", "")
TRAINING_SECONDS = 180
WIDTHS = {"wide": 1440, "phone": 390}


def sign_in(page: Page, stack: Stack, username: str) -> None:
    """By a one-time link, as `manage.py sign_in_link` prints it."""
    link = re.search(r"/sign-in/link/\S+", stack.manage("sign_in_link", username))[0]
    page.goto(stack.base_url + link)
    page.get_by_role("button", name=re.compile("Sign in as")).click()
    page.wait_for_load_state()


class Person:
    """Somebody at the site, on a screen of one width. `story` begins the names of the pictures."""

    def __init__(self, page: Page, width: int, story: str = "") -> None:
        self.page = page
        self.width = width
        self.story = f"{story}-" if story else ""

    def see(self, name: str) -> None:
        """Check that nothing sticks out sideways, and keep a picture where one is wanted."""
        self.page.wait_for_load_state()
        too_wide = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert too_wide <= 0, f"{name}: the page is {too_wide} pixels wider than the screen"
        if SCREENSHOTS:
            self.page.wait_for_timeout(300)  # pictures and curves are still being drawn
            folder = Path(SCREENSHOTS)
            folder.mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=folder / f"{self.story}{name}-{self.width}.png", full_page=True)

    def press(self, name: str | re.Pattern) -> None:
        self.page.get_by_role("button", name=name).locator("visible=true").first.click()

    def follow(self, name: str | re.Pattern) -> None:
        self.page.get_by_role("link", name=name).locator("visible=true").first.click()

    def await_status(self, status: str, seconds: float, *others: str) -> None:
        """Until `status` is shown, or one of `others`."""
        badges = ", ".join(f".page-badge [data-status={each}]" for each in (status, *others))
        badge = self.page.locator(badges).first
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

    def train(self, model: str, settings: Mapping[str, str], preset: str = "") -> None:
        """By the choice that stands there, or by `preset`, with these of all settings changed."""
        self.follow("Train on this")
        self.see("3-train-basic")
        self.page.get_by_label("Model name").fill(model)
        if preset:
            with self.page.expect_response(lambda answer: f"preset={preset}" in answer.url):
                self.page.locator(f".choice:has(#preset_{preset})").click()
            expect(self.page.locator(f"[name=filled_preset][value={preset}]")).to_be_attached()
        if settings:
            self.page.locator("details.more summary").filter(has_text="All settings").click()
            for name, value in settings.items():
                self.choose(name, value)
            self.see("3-train-full")
        self.press("Train model")
        expect(self.page).to_have_url(re.compile(r"/jobs/\d+/"))

    def choose(self, name: str, value: str) -> None:
        """Fill in a setting, or select it."""
        field = self.page.locator(f"#id_{name}")
        if field.evaluate("field => field.localName") == "select":
            field.select_option(value)
        else:
            field.fill(value)

    def watch(self) -> None:
        self.await_status("running", 60, "succeeded")  # which some are before one can look
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
