"""The manual is read on the site: every page is listed, its links lead somewhere, and words are found in it."""

import re
from html.parser import HTMLParser

import pytest
from django.conf import settings
from django.urls import reverse

from apps.core import manual
from apps.core.errors import NotFound

PAGES = [page for pages in manual.groups().values() for page in pages]
ANCHOR = re.compile(r'id="([^"]+)"')


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        if tag == "a":
            self.found.append(dict(attrs)["href"])


def links_of(page: manual.Page) -> list[str]:
    reader = Links()
    reader.feed(page.html)
    return reader.found


def test_every_file_of_docs_is_a_page():
    assert {path.stem for path in (settings.BASE_DIR / "docs").glob("*.md")} == {
        page.slug for page in PAGES if page.slug not in manual.ELSEWHERE
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.slug)
def test_its_links_lead_to_pages_and_headings_that_are_there(page):
    here = {each.url: each for each in PAGES}
    for link in links_of(page):
        path, _hash, anchor = link.partition("#")
        if "://" in link:
            continue
        target = here.get(path) if path else page
        assert target is not None, f"{page.slug} links to {link}"
        assert not anchor or anchor in ANCHOR.findall(target.html), f"{page.slug} links to {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.slug)
def test_a_page_has_no_style_of_its_own_and_says_its_title_once(page):
    assert "style=" not in page.html and "<h1" not in page.html and "<script" not in page.html
    assert page.title and "`" not in page.title


def test_a_member_reads_a_page_and_finds_the_others_beside_it(owner):
    answered = owner.page.get(reverse("core:manual", args=["serving"])).content.decode()
    assert '<h2 id="' in answered and reverse("core:manual", args=["data"]) in answered
    assert reverse("core:manual", args=["serving"]) in owner.page.get(reverse("core:docs")).content.decode()


@pytest.mark.parametrize("slug", ["nothing", "settings-secret", "README"])
def test_there_is_no_page_that_is_not_listed(owner, slug):
    assert owner.page.get(f"/docs/{slug}/").status_code == 404
    with pytest.raises(NotFound):
        manual.find_page(slug)


def test_words_are_found_where_they_stand_titles_first():
    found = manual.search_manual(["translat"], most=50)
    titles = ["translat" in f"{page.title} {section.title}".casefold() for page, section in found]
    assert titles == sorted(titles, reverse=True) and True in titles and False in titles
    assert not manual.search_manual(["xyzzy"], most=5)
    assert len(manual.search_manual(["the"], most=3)) == 3
