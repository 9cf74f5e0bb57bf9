"""Somebody comes to the running site with a browser."""

import re

from playwright.sync_api import Page

from tests.stack import Stack


def sign_in(page: Page, stack: Stack, username: str) -> None:
    """By a one-time link, as `manage.py sign_in_link` prints it."""
    link = re.search(r"/sign-in/link/\S+", stack.manage("sign_in_link", username))[0]
    page.goto(stack.base_url + link)
    page.get_by_role("button", name=re.compile("Sign in as")).click()
    page.wait_for_load_state()
