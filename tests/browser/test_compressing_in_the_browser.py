"""Somebody makes a model smaller with recipes of their own, watches, and keeps another than the chosen one."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.visiting import sign_in

COMPRESSION_SECONDS = 180


@pytest.fixture(params=[1440, 390], ids=["wide", "phone"])
def visitor(request, page, live_stack) -> Page:
    made = page(request.param, base_url=live_stack.base_url)
    page.forgive("422")
    sign_in(made, live_stack, "admin")
    return made


def fits(visitor: Page) -> bool:
    return visitor.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def row(visitor: Page, number: int):
    return visitor.locator(f".candidate[data-number='{number}']")


def test_from_recipes_to_a_version_that_was_picked_by_hand(visitor, trained):
    visitor.goto(f"/models/{trained.model.id}/versions/{trained.model.version}/")
    visitor.get_by_role("link", name="Compress", exact=True).click()
    expect(visitor.locator("#limit-floor output")).to_contain_text("%")
    visitor.locator(".limit-range").fill("5")
    expect(visitor.locator("#id_limit_points")).to_have_value("5.0")

    visitor.locator("details.more summary").filter(has_text="Recipes").click()
    visitor.get_by_role("button", name="int8", exact=True).click()
    expect(visitor.locator(".recipe")).to_have_count(1)
    visitor.get_by_role("button", name="Empty recipe").click()
    second = visitor.locator(".recipe").nth(1)
    second.get_by_role("button", name="Quantise").click()
    second.get_by_role("button", name="Remove channels").click()
    expect(second.locator(".recipe-step-title")).to_have_text(["Remove channels", "Quantise"])
    second.get_by_label("Share removed").fill("9")
    expect(visitor.locator("#summary")).to_contain_text("2 recipes")
    assert fits(visitor)

    visitor.locator("#summary").get_by_role("button", name="Compress").click()
    expect(visitor.locator(".recipe").nth(1)).to_contain_text("it must lie between 0.01 and 0.95")
    second.get_by_label("Share removed").fill("0.3")
    second.get_by_label("Fine-tuning epochs").first.fill("1")
    visitor.locator("#summary").get_by_role("button", name="Compress").click()

    expect(visitor).to_have_url(re.compile(r"/jobs/\d+/"))
    expect(row(visitor, 0)).to_be_visible(timeout=COMPRESSION_SECONDS * 1000)
    expect(visitor.locator("#plots canvas").first).to_be_visible()
    expect(visitor.locator(".page-badge [data-status=succeeded]")).to_be_visible(timeout=COMPRESSION_SECONDS * 1000)
    expect(visitor.locator(".candidate")).to_have_count(3)
    expect(row(visitor, 2)).to_contain_text("30% of channels removed, int8")
    expect(row(visitor, 2)).to_contain_text("smaller")
    assert fits(visitor)

    visitor.locator(".segments").get_by_role("link", name="Within the limit").click()
    expect(visitor).to_have_url(re.compile("show=within"))
    visitor.locator(".segments").get_by_role("link", name="All").click()
    expect(visitor.locator(".candidate")).to_have_count(3)

    other = visitor.locator(".candidate:not(.is-chosen)").filter(
        has=visitor.get_by_role("button", name="Keep as version")
    )
    number = other.first.get_attribute("data-number")
    other.first.get_by_role("button", name="Keep as version").click()
    kept = row(visitor, int(number)).get_by_role("link", name=re.compile(r"v\d+"))
    expect(kept).to_be_visible()
    kept.click()
    expect(visitor.get_by_role("heading", name="Before and after")).to_be_visible()
    assert fits(visitor)
