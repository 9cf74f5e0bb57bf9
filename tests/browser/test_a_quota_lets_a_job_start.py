"""A lowered limit holds a job back and the job says so; an administrator raises it in place, and the job runs."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.visiting import sign_in
from tests.stack import Stack

TINY = {"epochs": 1, "batch_size": 32, "image_size": 16}
FORGET = """
from apps.resources.models import Quota
Quota.objects.filter(resource="devices").delete()
"""


@pytest.fixture
def no_quota_stays(live_stack: Stack, sdk) -> Iterator[None]:
    yield
    live_stack.manage("shell", "-v", "0", "-c", FORGET)
    sdk.nodes.open("local")


def set_limit(screen: Page, limit: str) -> None:
    """Click the cell, type, Enter."""
    screen.goto("/pool/quotas/")
    cell = screen.get_by_label("Change Devices of My team")
    cell.click()
    field = screen.get_by_label("Limit", exact=True)
    field.fill(limit)
    with screen.expect_response(lambda answer: answer.request.method == "POST"):
        field.press("Enter")
    expect(cell).to_contain_text(f"of {limit}")


def test_a_raised_quota_lets_a_waiting_job_start(page, live_stack, sdk, dataset, no_quota_stays):
    screen = page(1440, base_url=live_stack.base_url)
    sign_in(screen, live_stack, "admin")
    sdk.nodes.cordon("local")  # so that the limit is lowered while the job waits: asking above a limit is refused
    job = sdk.jobs.train(dataset["id"], model_name="held-back", preset="fast", hyperparameters=TINY)
    set_limit(screen, "0")
    sdk.nodes.open("local")

    screen.goto(f"/jobs/{job.id}/")
    expect(screen.get_by_text("your team may hold 0 devices and holds 0 devices")).to_be_visible(timeout=20_000)

    set_limit(screen, "4")
    screen.goto(f"/jobs/{job.id}/")
    expect(screen.locator(".page-badge [data-status=succeeded]").first).to_be_visible(timeout=60_000)


def test_escape_leaves_a_quota_as_it_was(page, live_stack):
    screen = page(1440, base_url=live_stack.base_url)
    sign_in(screen, live_stack, "admin")
    screen.goto("/pool/quotas/")
    cell = screen.get_by_label("Change Memory of My team")
    cell.click()
    screen.get_by_label("Limit (GB)").fill("3")
    screen.keyboard.press("Escape")
    expect(cell).to_contain_text("no limit")
    expect(cell).to_be_focused()
