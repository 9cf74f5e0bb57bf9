"""The document that all pages share, in a real browser: navigation, theme, messages, copying, no sideways scrolling."""

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browsing import Pages
from tests.stack import Stack

WIDTHS = (1440, 390)
ADDRESSES = (
    *("/", "/data/", "/data/upload/", "/jobs/", "/models/", "/deployments/", "/pool/"),
    *("/pool/usage/", "/pool/usage/?group=day&measure=cost&period=90d", "/pool/prices/"),
    *("/team/", "/team/audit/", "/keys/", "/password/", "/docs/"),
)


@pytest.fixture(scope="module")
def session(live_stack: Stack, browser: Browser) -> dict:
    """The cookies of somebody who came by a one-time link."""
    link = re.search(r"/sign-in/link/\S+", live_stack.manage("sign_in_link"))[0]
    context = browser.new_context(base_url=live_stack.base_url)
    first = context.new_page()
    first.goto(link)
    first.get_by_role("button", name="Sign in as").click()
    expect(first.locator("h1")).to_be_visible()
    cookies = context.storage_state()
    context.close()
    return cookies


@pytest.fixture
def open_page(live_stack: Stack, session: dict, page: Pages):
    """``open_page(width)`` is a page of somebody who has signed in."""

    def opened(width: int = 1440, **options) -> Page:
        return page(width, base_url=live_stack.base_url, storage_state=session, **options)

    return opened


@pytest.mark.parametrize("width", WIDTHS)
def test_every_page_fits_its_window(open_page, width):
    browser_page = open_page(width)
    for address in ADDRESSES:
        browser_page.goto(address)
        expect(browser_page.locator("h1")).to_be_visible()
        assert browser_page.evaluate("document.documentElement.scrollWidth") <= width, address


def test_the_theme_follows_the_system(open_page):
    browser_page = open_page(color_scheme="dark")
    browser_page.goto("/docs/")
    theme = browser_page.locator("html")
    expect(theme).to_have_attribute("data-bs-theme", "dark")
    browser_page.emulate_media(color_scheme="light")
    expect(theme).to_have_attribute("data-bs-theme", "light")


def test_a_new_key_is_copied_by_its_button(open_page):
    browser_page = open_page(permissions=["clipboard-read", "clipboard-write"])
    browser_page.goto("/keys/")
    browser_page.get_by_label("What is it for?").fill("browser test")
    browser_page.get_by_role("button", name="Create key").click()
    secret = browser_page.locator("#secret").input_value()
    browser_page.locator("[data-copy='#secret']").click()
    expect(browser_page.locator("[data-copy='#secret'] .ti-check")).to_be_visible()
    assert browser_page.evaluate("navigator.clipboard.readText()") == secret


def test_revoking_a_key_asks_once_and_no_changes_nothing(open_page):
    browser_page = open_page()
    browser_page.goto("/keys/")
    browser_page.get_by_label("What is it for?").fill("to be revoked")
    browser_page.get_by_role("button", name="Create key").click()
    row = browser_page.locator("li", has_text="to be revoked").first
    browser_page.once("dialog", lambda dialog: dialog.dismiss())
    row.get_by_role("button", name="Revoke").click()
    expect(row.get_by_role("button", name="Revoke")).to_be_visible()
    browser_page.once("dialog", lambda dialog: dialog.accept())
    row.get_by_role("button", name="Revoke").click()
    expect(browser_page.locator("#toasts")).to_contain_text("The key to be revoked no longer works.")


def test_an_error_in_a_part_of_the_page_becomes_a_message_and_leaves_the_page(open_page, page):
    page.forgive(r"404")
    browser_page = open_page()
    browser_page.goto("/docs/")
    browser_page.evaluate("htmx.ajax('GET', '/data/999999/', {target: '#content'})")
    expect(browser_page.locator("#toasts .toast-error")).to_contain_text("There is nothing here")
    expect(browser_page.locator("h1")).to_have_text("Docs")
    browser_page.locator("#toasts .btn-close").click()
    expect(browser_page.locator("#toasts .toast-error")).to_be_hidden()


def test_a_part_that_comes_again_takes_over_no_inline_style(open_page):
    """Extensions and tools that look at a page leave a style attribute; set on what comes in, the policy refuses it."""
    browser_page = open_page()
    browser_page.goto("/docs/")
    browser_page.evaluate("document.querySelector('#content').style.color = 'red'")
    browser_page.evaluate("htmx.ajax('GET', '/docs/', {target: '#content', select: '#content', swap: 'outerHTML'})")
    expect(browser_page.locator("#content[style]")).to_have_count(0)
    expect(browser_page.locator("#content")).not_to_have_class(re.compile("htmx-"))


def test_menus_open_and_lead_on(open_page):
    browser_page = open_page(390)
    browser_page.goto("/")
    browser_page.get_by_role("button", name="Your account").click()
    browser_page.get_by_role("link", name="Docs").click()
    expect(browser_page.locator("h1")).to_have_text("Docs")
    browser_page.get_by_role("button", name="New").click()
    browser_page.get_by_role("link", name="Upload data").click()
    browser_page.wait_for_url("**/data/upload/")
