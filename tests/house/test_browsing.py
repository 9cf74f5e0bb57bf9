"""The browser fixture is worth something only if it notices what is wrong."""

import pytest
from playwright.sync_api import Browser

from tests.browsing import Pages


@pytest.fixture
def pages(browser: Browser) -> Pages:
    return Pages(browser)


def test_a_page_without_fault_gives_no_complaint(pages: Pages) -> None:
    page = pages(390)
    page.set_content("<p>Hello</p>")
    assert page.evaluate("innerWidth") == 390
    assert pages.close() == []


def test_console_errors_exceptions_and_failed_requests_are_noticed(pages: Pages) -> None:
    page = pages()
    page.set_content("<script>console.error('first')</script>")
    page.set_content("<script>setTimeout(() => { throw new Error('second') })</script>")
    with page.expect_event("requestfailed"):
        page.set_content("<img src='http://127.0.0.1:9/third.png'>")
    found = "\n".join(pages.close())
    assert "console: first" in found
    assert "exception: second" in found
    assert "request failed: GET http://127.0.0.1:9/third.png" in found


def test_an_expected_complaint_can_be_forgiven_and_only_that(pages: Pages) -> None:
    page = pages()
    pages.forgive("expected")
    page.set_content("<script>console.error('expected'); console.error('other')</script>")
    (complaint,) = pages.close()
    assert "other" in complaint
