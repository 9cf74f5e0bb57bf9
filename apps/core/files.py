"""Stored files on their way to a person."""

import asyncio
import mimetypes
import os
import re
from collections.abc import AsyncIterator
from typing import BinaryIO

from django.http import (
    FileResponse,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseNotModified,
    StreamingHttpResponse,
)
from django.utils.translation import gettext as _

from apps.core.errors import NotFound
from apps.core.storage import open_blob

SOUND_TYPES = {"audio/wav"}
INLINE_TYPES = {"image/png", "image/jpeg", "image/webp"} | SOUND_TYPES
RANGE = re.compile(r"bytes=(\d{1,18})-(\d{0,18})")


class Streamed(StreamingHttpResponse):
    """An answer that reads its blocks in a thread. Given a plain iterator, Django's ASGI handler would hold the whole
    of it in memory."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        blocks = iter(self.streaming_content)
        while (block := await asyncio.to_thread(next, blocks, None)) is not None:
            yield block


class StreamedFile(Streamed, FileResponse):
    """A file, the same way."""

    block_size = 64 * 1024  # each block is one trip to a thread


def blob_response(
    request: HttpRequest, sha256: str, filename: str, content_type: str = "", inline: bool = False
) -> HttpResponseBase:
    """Send the blob `sha256` as `filename`.

    It is an attachment that no browser interprets, unless `inline` asks for an image or a sound that the site made
    itself. The bytes under a sha256 never change, so browsers keep them. Raises NotFound. The caller has checked whose
    file it is.
    """
    etag = f'"{sha256}"'
    if request.headers.get("If-None-Match") == etag:
        return _kept(HttpResponseNotModified(), etag)
    try:
        file = open_blob(sha256)
    except FileNotFoundError as error:
        raise NotFound(_("The file %(name)s is no longer in storage.") % {"name": filename}) from error
    content_type = content_type or mimetypes.guess_type(filename)[0] or "application/octet-stream"
    is_shown = inline and content_type in INLINE_TYPES
    if is_shown and content_type in SOUND_TYPES and (part := _asked_part(request, file)):
        return _kept(_partial(file, part, content_type), etag)
    response = StreamedFile(file, as_attachment=not is_shown, filename=filename, content_type=content_type)
    return _kept(response, etag)


def _asked_part(request: HttpRequest, file: BinaryIO) -> tuple[int, int, int] | None:
    """First byte, last byte and size of the file, where one part of it is asked for (RFC 9110, 14.2), as some browsers
    do before they play a sound. None asks for all, as does a range that cannot be served."""
    found = RANGE.fullmatch(request.headers.get("Range", ""))
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if not found or int(found[1]) >= size:
        return None
    last = min(int(found[2]), size - 1) if found[2] else size - 1
    return (int(found[1]), last, size) if last >= int(found[1]) else None


def _partial(file: BinaryIO, part: tuple[int, int, int], content_type: str) -> HttpResponse:
    """Sounds that are shown are short, so a part of one is read at once."""
    first, last, size = part
    with file:
        file.seek(first)
        response = HttpResponse(file.read(last - first + 1), status=206, content_type=content_type)
    response["Content-Range"] = f"bytes {first}-{last}/{size}"
    return response


def _kept(response: HttpResponseBase, etag: str) -> HttpResponseBase:
    response["ETag"] = etag
    response["Cache-Control"] = "private, max-age=31536000, immutable"
    response["X-Content-Type-Options"] = "nosniff"
    if response.headers.get("Content-Type") in SOUND_TYPES:
        response["Accept-Ranges"] = "bytes"
    return response
