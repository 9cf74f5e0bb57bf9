"""Every address of the site, with its placeholders filled in."""

import re
from collections.abc import Iterator

from django.urls import URLPattern, URLResolver, get_resolver

SAMPLES = {"int": "1", "str": "x", "slug": "x", "path": "x", "uuid": "00000000-0000-4000-8000-000000000000"}
PLACEHOLDER = re.compile(r"<(?:(\w+):)?\w+>")
GROUP = re.compile(r"\(\?P<\w+>[^)]*\)")


def every_route(patterns=None, before: str = "/") -> Iterator[tuple[str, str]]:
    """(address, name with its namespace) of every route."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        here = before + _filled(str(pattern.pattern))
        if isinstance(pattern, URLResolver):
            yield from every_route(pattern.url_patterns, here)
        elif isinstance(pattern, URLPattern):
            yield here, pattern.name or ""


def _filled(pattern: str) -> str:
    text = GROUP.sub("x", PLACEHOLDER.sub(lambda found: SAMPLES[found[1] or "str"], pattern))
    return text.replace("^", "").replace("$", "").replace(r"\Z", "").replace("\\", "")
