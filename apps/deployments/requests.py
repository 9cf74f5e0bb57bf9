"""What a client sent, as a question for a replica: raw images, JSON, base64 and multipart."""

from io import BytesIO
from typing import Any

from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.core.handlers.asgi import ASGIRequest
from django.http.multipartparser import MultiPartParserError

from apps.core.errors import DomainError, Unprocessable
from workers.domains import TABLE, TASKS, TEXT, USER
from workers.inference.framing import JSON, RAW, Question

MAX_TOP_K = 1000
FILE_FIELD = "file"


def to_question(task: str, content_type: str, body: bytes, top_k: int | None) -> Question:
    """The question in a body that is not multipart.

    A table's model, and one that recommends, reads JSON whatever it is called, as curl calls everything a form. A model
    of pictures or of recordings reads JSON where the header says so or the body begins like an object, which neither
    does. A text's model reads plain text where the header says so, or the body does not begin like an object.
    """
    kind = TASKS[task].asks
    if kind == TEXT and content_type.startswith("text/plain"):
        return Question(RAW, body, top_k)
    is_json = content_type.startswith("application/json") or body[:1] == b"{"
    if kind in (TABLE, USER) or is_json:
        return Question(JSON, body, top_k)
    return Question(RAW, body, top_k)


def is_multipart(content_type: str) -> bool:
    return content_type.startswith("multipart/form-data")


def multipart_question(scope: dict[str, Any], task: str, body: bytes, top_k: int | None) -> Question:
    """The question in a multipart body, whose file stands in the field "file". Slow: call it in a thread.

    Raises DomainError for what is no multipart body, or has no such field.
    """
    try:
        file = ASGIRequest(scope, BytesIO(body)).FILES.get(FILE_FIELD)
    except (MultiPartParserError, RequestDataTooBig, SuspiciousOperation) as error:
        raise DomainError(f"The multipart body cannot be read: {error}", code="invalid_multipart") from error
    if file is None:
        message = 'The multipart body has no file in the field "file". With curl: -F file=@NAME'
        raise Unprocessable(message, code="missing_file", field=FILE_FIELD)
    with file:
        return to_question(task, file.content_type or "", file.read(), top_k)


def read_top_k(text: str | None) -> int | None:
    """Raises Unprocessable unless `text` is absent or a number from 1 to 1000."""
    if text is None or text == "":
        return None
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:6]) <= MAX_TOP_K:
        message = f"top_k must be a whole number from 1 to {MAX_TOP_K}; it was {text[:20]!r}."
        raise Unprocessable(message, code="out_of_range", field="top_k")
    return int(text)
