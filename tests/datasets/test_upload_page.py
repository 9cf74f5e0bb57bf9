"""The upload page in a real browser: dropped connections, a reload, folders, and refusals."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.datasets.making import RAGGED, TABLE
from tests.site_helpers import digits
from tests.stack import Stack

MAKE_LINK = """
from apps.accounts.models import User
from apps.accounts.services import create_sign_in_link
print("LINK", create_sign_in_link(user=User.objects.filter(is_superuser=True).first()))
"""
ARRIVED = re.compile("Complete")
CHECK_SECONDS = 60


@pytest.fixture(scope="module", autouse=True)
def _patience() -> Iterator[None]:
    """A busy machine may need its time."""
    expect.set_options(timeout=20_000)
    yield
    expect.set_options(timeout=5_000)


@pytest.fixture(scope="module")
def session(live_stack: Stack, browser) -> dict:
    """The cookies of somebody who signed in by a link."""
    printed = live_stack.manage("shell", "-v", "0", "-c", MAKE_LINK)
    path = next(line.split()[1] for line in printed.splitlines() if line.startswith("LINK"))
    context = browser.new_context(base_url=live_stack.base_url)
    page = context.new_page()
    page.goto(path)
    page.locator("form button").first.click()
    page.wait_for_url(re.compile("^(?!.*sign-in)"))
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def open_upload(page, live_stack, session):
    """Opens the upload page at a width, with small chunks so that a small file has several."""

    def open_at(width: int = 1440, path: str = "/data/upload/") -> Page:
        opened = page(width, base_url=live_stack.base_url, storage_state=session)
        opened.goto(path)
        return opened

    return open_at


def rows(page: Page):
    return page.locator("#upload-rows .upload-row")


def finish(page: Page, name: str) -> None:
    page.fill("[name=name]", name)
    page.click("#upload-submit")
    page.wait_for_url("**/data/*/?version=1")
    page.locator("#checking").wait_for(state="detached", timeout=CHECK_SECONDS * 1000)


def write(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("width", [1440, 390])
def test_a_table_goes_up_is_checked_and_can_be_trained_on(open_upload, tmp_path, width):
    page = open_upload(width)
    page.set_input_files("#file-input", write(tmp_path, f"people {width}.csv", TABLE))
    expect(rows(page).locator(".upload-state")).to_have_text(re.compile("SHA-256 [0-9a-f]{12}"))
    expect(page).to_have_title("Done · Upload")
    assert page.input_value("[name=name]") == f"people {width}"
    finish(page, f"People {width}")
    expect(page.get_by_role("link", name="Train on this")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_bad_lines_are_left_out_by_one_click(open_upload, tmp_path):
    page = open_upload()
    page.set_input_files("#file-input", write(tmp_path, "ragged.csv", RAGGED))
    finish(page, "Ragged in the browser")
    page.get_by_role("button", name="Leave out 2 rows and continue").click()
    expect(page.get_by_role("link", name="Train on this")).to_be_visible()


def test_a_folder_becomes_one_row_and_keeps_its_classes(open_upload, tmp_path):
    for name, body in digits("14", 6).items():
        write(tmp_path / "chosen", name, body)
    write(tmp_path / "chosen", ".DS_Store", b"x")
    page = open_upload()
    page.set_input_files("#folder-input", tmp_path / "chosen")
    expect(rows(page)).to_have_count(1)
    expect(rows(page).locator(".upload-state")).to_have_text(ARRIVED)
    expect(page.locator("#upload-note")).to_contain_text("1 hidden")
    finish(page, "A folder")
    expect(page.locator(".data-class")).to_have_count(2)


def test_a_dropped_connection_is_tried_again_without_starting_over(open_upload, page, tmp_path):
    page.forgive("net::ERR_")
    opened = open_upload()
    tries = []

    def drop_twice(route: Route) -> None:
        tries.append(route.request.url)
        route.abort("connectionreset") if len(tries) <= 2 else route.continue_()

    opened.route("**/api/v1/uploads/*/?offset=*", drop_twice)
    opened.set_input_files("#file-input", write(tmp_path, "dropped.csv", TABLE))
    expect(rows(opened).locator(".upload-state")).to_contain_text("The connection was lost")
    expect(rows(opened).locator(".upload-state")).to_have_text(ARRIVED)
    assert len(tries) == 3


def test_a_page_that_was_closed_goes_on_where_it_stopped(open_upload, page, live_stack, tmp_path):
    page.forgive("net::ERR_")
    path = write(tmp_path, "long.csv", TABLE + b"20,red,no\n" * 1_200_000)
    closed = open_upload()
    sent = []

    def lose_after_first(route: Route) -> None:
        sent.append(route.request.url)
        route.continue_() if len(sent) == 1 else route.abort("connectionreset")

    closed.route("**/api/v1/uploads/*/?offset=*", lose_after_first)
    closed.set_input_files("#file-input", path)
    expect(rows(closed).locator(".upload-state")).to_contain_text("8.4 MB have arrived and stay")
    opened = closed.context.new_page()
    closed.close()
    opened.goto(f"{live_stack.base_url}/data/upload/")
    expect(opened.locator("#unfinished")).to_contain_text("8.4 MB of 12.0 MB")
    resent = []
    opened.on("request", lambda request: resent.append(request.url))
    opened.set_input_files("#file-input", path)
    expect(rows(opened).locator(".upload-state")).to_have_text(ARRIVED)
    assert [url.split("offset=")[1] for url in resent if "offset=" in url] == [str(8 * 2**20)]
    expect(opened.locator("#unfinished [data-upload]", has_text=path.name)).to_be_hidden()


def test_a_refusal_is_said_in_the_row_and_the_file_can_be_left_out(open_upload, page, tmp_path):
    page.forgive("422")
    opened = open_upload()
    opened.set_input_files("#file-input", [write(tmp_path, "empty.csv", b""), write(tmp_path, "good.csv", TABLE)])
    failed = rows(opened).filter(has_text="empty.csv (0 bytes)").or_(rows(opened).filter(has_text="0 bytes"))
    expect(failed).to_have_count(1)
    opened.click("#upload-submit")
    expect(opened.locator("#upload-note")).to_contain_text("could not be uploaded")
    failed.get_by_role("button", name="Leave out").click()
    expect(rows(opened)).to_have_count(1)
    rows(opened).get_by_role("button", name="Remove").click()


def test_names_of_files_propose_the_split_and_it_can_be_changed(open_upload, tmp_path):
    page = open_upload()
    page.set_input_files(
        "#file-input", [write(tmp_path, "town_train.csv", TABLE), write(tmp_path, "town_test.csv", TABLE)]
    )
    splits = rows(page).get_by_role("combobox")
    expect(splits).to_have_count(2)
    expect(splits.first).to_have_value("train")
    expect(splits.last).to_have_value("test")
    assert page.input_value("[name=name]") == "town"
    splits.last.select_option("val")
    finish(page, "Town")
    expect(page.locator(".data-about")).to_contain_text("val")


def test_a_taken_name_keeps_what_was_uploaded(open_upload, page, tmp_path):
    page.forgive("409")
    for name in ("first.csv", "second.csv"):
        opened = open_upload()
        opened.set_input_files("#file-input", write(tmp_path, name, TABLE))
        expect(rows(opened).locator(".upload-state")).to_have_text(ARRIVED)
        opened.fill("[name=name]", "Taken")
        opened.click("#upload-submit")
    expect(opened.locator(".invalid-feedback")).to_contain_text("already has a data set")
    expect(rows(opened)).to_contain_text("second.csv")
    finish(opened, "Not taken")
