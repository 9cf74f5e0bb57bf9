"""Stored files on their way to a person."""

import asyncio
import mimetypes
from collections.abc import AsyncIterator

from django.http import FileResponse, HttpRequest, HttpResponseBase, HttpResponseNotModified, StreamingHttpResponse

from apps.core.errors import NotFound
from apps.core.storage import open_blob

INLINE_TYPES = {"image/png", "image/jpeg", "image/webp", "audio/wav"}


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
        raise NotFound(f"The file {filename} is no longer in storage.") from error
    content_type = content_type or mimetypes.guess_type(filename)[0] or "application/octet-stream"
    is_shown = inline and content_type in INLINE_TYPES
    response = StreamedFile(file, as_attachment=not is_shown, filename=filename, content_type=content_type)
    return _kept(response, etag)


def _kept(response: HttpResponseBase, etag: str) -> HttpResponseBase:
    response["ETag"] = etag
    response["Cache-Control"] = "private, max-age=31536000, immutable"
    response["X-Content-Type-Options"] = "nosniff"
    return response
