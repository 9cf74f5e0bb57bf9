"""A real browser for tests. What it complains about - console errors, exceptions, failed requests - fails the test."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
APPLICATIONS = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
HEIGHT = 900
HEARD = Path(tempfile.gettempdir()) / f"lepton-microphone-{os.getpid()}.wav"
# The microphone of the browser hears this file once, from when it is opened, and then nothing.
MICROPHONE = (
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    f"--use-file-for-fake-audio-capture={HEARD}%noloop",
)


def find_chromium() -> str | None:
    """The path of a Chromium or Chrome on this machine."""
    found = (shutil.which(name) for name in NAMES)
    return next((path for path in (*found, *APPLICATIONS) if path and os.path.exists(path)), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser per module: while Playwright runs, Django refuses the ORM in the same thread."""
    path = find_chromium()
    if path is None:
        reason = "No Chromium or Chrome found, so the browser tests are left out; install one to run them."
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    flags = [*FLAGS, *MICROPHONE, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=flags)
        yield opened
        opened.close()
    HEARD.unlink(missing_ok=True)


class Pages:
    """Call it for a new page, each in a context of its own; `forgive` names complaints that are expected."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        self.contexts = []
        self.complaints: list[str] = []
        self.forgiven: list[str] = []

    def __call__(self, width: int = 1440, *, base_url: str | None = None, **options: object) -> Page:
        """A page of `width` pixels; further options go to Playwright's `new_context`."""
        viewport = {"width": width, "height": HEIGHT}
        context = self.browser.new_context(viewport=viewport, base_url=base_url, **options)
        self.contexts.append(context)
        page = context.new_page()
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.complaints.append(f"exception: {error}"))
        page.on("requestfailed", self._on_failed)
        page.on("response", self._on_response)
        return page

    def forgive(self, pattern: str) -> None:
        """Expect complaints that match the regular expression, such as an answer 422 that the test provokes."""
        self.forgiven.append(pattern)

    def _on_console(self, message) -> None:
        if message.type == "error":
            self.complaints.append(f"console: {message.text} ({message.location.get('url', '')})")

    def _on_failed(self, request) -> None:
        if request.failure != "net::ERR_ABORTED":  # the page itself gave up, as when it is left
            self.complaints.append(f"request failed: {request.method} {request.url}: {request.failure}")

    def _on_response(self, response) -> None:
        if response.status >= 400:
            self.complaints.append(f"answer {response.status}: {response.request.method} {response.url}")

    def close(self) -> list[str]:
        """Close all pages and return the complaints that nobody expected."""
        for context in self.contexts:
            context.close()
        return [line for line in self.complaints if not any(re.search(pattern, line) for pattern in self.forgiven)]


@pytest.fixture
def page(browser: Browser) -> Iterator[Pages]:
    """``page(width)`` opens a page; the test fails when the browser complained about anything."""
    pages = Pages(browser)
    yield pages
    complaints = pages.close()
    assert complaints == [], "the browser complained:\n" + "\n".join(complaints)
