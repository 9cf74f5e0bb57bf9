"""The raw body of a chunk."""

import hashlib
from typing import BinaryIO

from django.conf import settings
from django.http.request import UnreadablePostError
from django.utils.translation import gettext as _
from rest_framework.parsers import BaseParser

from apps.core.errors import DomainError, TooLarge
from apps.core.storage import BLOCK_BYTES


class ChunkParser(BaseParser):
    """Reads one chunk into memory, and never more than that. `request.data` is its bytes."""

    media_type = "application/octet-stream"

    def parse(self, stream: BinaryIO, media_type: str | None = None, parser_context: dict | None = None) -> bytes:
        announced = int(parser_context["request"].META.get("CONTENT_LENGTH") or 0)
        limit = settings.LEPTON_UPLOAD_CHUNK_BYTES
        if announced > limit:
            raise _too_large(limit)
        body = read_at_most(stream, limit)
        if len(body) < announced:
            raise cut_short()
        return body


def read_at_most(stream: BinaryIO, limit: int) -> bytes:
    """The whole stream. Raises TooLarge beyond `limit` bytes, and DomainError (cut_short) when the client has gone."""
    body = bytearray()
    try:
        while block := stream.read(BLOCK_BYTES):
            body += block
            if len(body) > limit:
                raise _too_large(limit)
    except UnreadablePostError as error:
        raise cut_short() from error
    return bytes(body)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(
        _("A chunk may have %(n)d bytes at most. Send the file in smaller parts.") % {"n": limit},
        code="chunk_too_large",
        details={"chunk_bytes": limit},
    )


def cut_short() -> DomainError:
    return DomainError(_("The chunk arrived incomplete and was dropped. Send it again."), code="cut_short")


def has_checksum(body: bytes, sha256: str) -> bool:
    """True too where the client sent none."""
    return not sha256 or hashlib.sha256(body).hexdigest() == sha256.strip().lower()
