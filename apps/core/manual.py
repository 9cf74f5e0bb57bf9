"""The manual: the Markdown files of docs/ as pages of the site, so that it is there where no network is."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from django.conf import settings
from django.urls import reverse
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext_lazy as _
from markdown_it import MarkdownIt
from markdown_it.token import Token

from apps.core.errors import NotFound

SDK = "sdk"
ELSEWHERE = {SDK: "leptonai/README.md"}  # pages that lie outside docs/
GROUPS: dict[object, tuple[str, ...]] = {
    _("Begin"): ("tutorial", "recipes", "data", "data-doctor"),
    _("What models can do"): (
        "tables",
        "text",
        "translation",
        "answers",
        "audio",
        "speech",
        "recommendation",
        "forecasting",
        "several-labels",
    ),
    _("Train"): ("pretrained", "repeating", "losses-and-optimisers", "training-on-several-devices", "fusing"),
    _("Make smaller"): ("compressing", "compression-methods", "taking-a-model-home"),
    _("Use"): ("serving", "batch-prediction", "api", SDK),
    _("Share and run"): ("sharing", "nodes", "usage", "languages", "settings"),
    _("Behind the scenes"): ("how-it-works", "benchmarks"),
}
NOT_OF_A_NAME = re.compile(r"[^\w\- ]")
ALIGNED_RIGHT = "text-align:right"


@dataclass(frozen=True)
class Section:
    """A heading of the second rank and what stands below it; the words before the first have no `anchor`."""

    title: str
    anchor: str
    text: str


@dataclass(frozen=True)
class Page:
    """One page. `html` is what its file says, without the title."""

    slug: str
    title: str
    html: SafeString
    sections: Sequence[Section] = field(repr=False)

    @property
    def url(self) -> str:
        return reverse("core:manual", args=[self.slug])


def groups() -> dict[object, list[Page]]:
    """All pages, in the order in which they are read."""
    return {title: [find_page(slug) for slug in slugs] for title, slugs in GROUPS.items()}


def find_page(slug: str) -> Page:
    """Raises NotFound."""
    if not any(slug in slugs for slugs in GROUPS.values()):
        raise NotFound(_("The manual has no such page."))
    return _read(slug)


def search_manual(words: Sequence[str], most: int) -> list[tuple[Page, Section]]:
    """The sections that have all `words`, those first that name them in their titles."""
    found = []
    for pages in groups().values():
        for page in pages:
            for section in page.sections:
                title = f"{page.title} {section.title}".casefold()
                if all(word.casefold() in f"{title} {section.text}" for word in words):
                    found.append((not all(word.casefold() in title for word in words), page, section))
    return [(page, section) for _rank, page, section in sorted(found, key=lambda item: item[0])][:most]


def path_of(slug: str) -> Path:
    return settings.BASE_DIR / ELSEWHERE.get(slug, f"docs/{slug}.md")


@cache
def _read(slug: str) -> Page:
    """The files change only with the code, so each is read once."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = markdown.parse(path_of(slug).read_text(encoding="utf-8"))
    title = _text(tokens[1])
    tokens = tokens[3:]
    for token in _all(tokens):
        _adapt(token, slug)
    for heading, words in zip(tokens, tokens[1:], strict=False):
        if heading.type == "heading_open":
            heading.attrSet("id", anchor_of(_text(words)))
    html = markdown.renderer.render(tokens, markdown.options, {})
    return Page(slug, title, mark_safe(html), tuple(_sections(tokens)))  # noqa: S308 - HTML in the files is escaped


def _all(tokens: Sequence[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from _all(token.children or ())


def _adapt(token: Token, slug: str) -> None:
    """Links lead to pages of the site, and a column of numbers is told by its class: no style stands in a page."""
    if token.type == "link_open":
        token.attrSet("href", link_from(slug, str(token.attrGet("href"))))
    if token.attrs.pop("style", "") == ALIGNED_RIGHT:
        token.attrSet("class", "num")


def link_from(slug: str, href: str) -> str:
    """Where a link of the page leads: ``serving.md#trials`` to the page of that name; others stay as they are."""
    path, _hash, anchor = href.partition("#")
    if "://" in href or not path.endswith(".md"):
        return href
    full = posixpath.normpath(posixpath.join(posixpath.dirname(ELSEWHERE.get(slug, f"docs/{slug}.md")), path))
    name = next((each for each, where in ELSEWHERE.items() if where == full), full.removeprefix("docs/")[: -len(".md")])
    return reverse("core:manual", args=[name]) + (f"#{anchor}" if anchor else "")


def anchor_of(title: str) -> str:
    """As GitHub names headings, so that a link works in both places."""
    return NOT_OF_A_NAME.sub("", title.casefold()).replace(" ", "-")


def _sections(tokens: Sequence[Token]) -> Iterator[Section]:
    title, words = "", []
    for index, token in enumerate(tokens):
        if token.type == "heading_open" and token.tag == "h2":
            yield Section(title, anchor_of(title), " ".join(words).casefold())
            title, words = _text(tokens[index + 1]), []
        elif token.type in ("inline", "fence"):
            words.append(_text(token))
    yield Section(title, anchor_of(title), " ".join(words).casefold())


def _text(token: Token) -> str:
    """What people read of it."""
    if token.type != "inline":
        return token.content
    return "".join(" " if each.type == "softbreak" else each.content for each in token.children or ())
