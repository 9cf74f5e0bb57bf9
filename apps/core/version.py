"""Which code this is, for lineage."""

from functools import cache

from django.conf import settings

VERSION = "0.1.0"


@cache
def code_version() -> str:
    """The release, and the commit where it runs from a clone: "0.1.0+3f2a91c"."""
    head = settings.BASE_DIR / ".git" / "HEAD"
    if not head.is_file():
        return VERSION
    text = head.read_text().strip()
    if text.startswith("ref: "):
        ref = head.parent / text[5:]
        text = ref.read_text().strip() if ref.is_file() else ""
    return f"{VERSION}+{text[:7]}" if text else VERSION
