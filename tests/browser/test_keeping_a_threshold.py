"""Somebody moves the slider of a model, keeps where it stands, and is answered at that threshold."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.visiting import sign_in


@pytest.fixture(params=[1440, 390], ids=["wide", "phone"])
def visitor(request, page, live_stack) -> Page:
    made = page(request.param, base_url=live_stack.base_url)
    sign_in(made, live_stack, "admin")
    return made


@pytest.fixture(scope="module")
def careful(sdk, trained) -> Iterator[None]:
    """Two deployments of the version, so that there is one to choose."""
    version = trained.model.version
    made = [sdk.deployments.create("three", version=version, name=name) for name in ("bold", "careful")]
    for deployment in made:
        sdk.deployments.wait(deployment, timeout=60)
    yield
    for deployment in made:
        sdk.deployments.delete(deployment)


def fits(visitor: Page) -> bool:
    return visitor.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_from_the_slider_to_an_answer_at_this_threshold(visitor, trained, careful):
    model = f"/models/{trained.model.id}/versions/{trained.model.version}/"
    visitor.goto(model)
    visitor.get_by_label("Look for").select_option("7")
    visitor.locator("#operating-threshold").fill("0")
    expect(visitor.locator("[data-figure=sensitivity]")).to_have_text("100 %")
    for curve in ("gain", "lift", "chance"):
        expect(visitor.locator(f"[data-curve={curve}]")).to_have_attribute("d", re.compile(r"^M[\d.]+ [\d.]+L"))
    expect(visitor.locator("[data-lift=most]")).to_have_text(re.compile("×"))
    assert fits(visitor)

    visitor.get_by_role("button", name="Use this threshold").click()
    visitor.get_by_role("button", name="in careful").click()
    expect(visitor.get_by_label("Page")).to_have_value("screening")
    expect(visitor.get_by_label("Threshold, in percent")).to_have_value("0")
    visitor.get_by_label("Notice").fill("Only for the tests.")
    assert fits(visitor)
    visitor.get_by_role("button", name="Save").click()

    visitor.get_by_role("link", name="Open demo").first.click()
    expect(visitor.get_by_role("note")).to_have_text("Only for the tests.")
    visitor.get_by_role("button", name="Try a sample").click()
    expect(visitor.locator(".demo-answer")).to_have_text("7")
    expect(visitor.locator("#result")).to_contain_text("Positive")
    expect(visitor.locator(".screening-figures")).to_contain_text("100.0 %")
    expect(visitor.get_by_role("note")).to_be_visible()
    assert fits(visitor)

    visitor.goto(model)
    expect(visitor.get_by_label("Look for")).to_have_value("7")
    expect(visitor.locator("#operating-threshold")).to_have_value("0")
