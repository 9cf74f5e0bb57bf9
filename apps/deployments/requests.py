"""What a client sent, as a question for a replica: raw images, JSON, base64 and multipart."""

from collections.abc import Sequence
from io import BytesIO
from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation, TooManyFilesSent
from django.core.files.uploadedfile import UploadedFile
from django.core.handlers.asgi import ASGIRequest
from django.http.multipartparser import MultiPartParserError

from apps.core.errors import DomainError, TooLarge, Unprocessable
from workers.domains import AUDIO, IMAGE, SERIES, TABLE, TASKS, TEXT, USER
from workers.inference.framing import FILES, JSON, RAW, Question

MAX_TOP_K = 1000
FILE_FIELD = "file"


def to_question(task: str, content_type: str, body: bytes, top_k: int | None) -> Question:
    """The question in a body that is not multipart.

    A table's model, and one that recommends or forecasts, reads JSON whatever it is called, as curl calls everything a
    form. A model of pictures or of recordings reads JSON where the header says so or the body begins like an object,
    which neither does. A text's model reads plain text where the header says so, or the body does not begin like an
    object.
    """
    kind = TASKS[task].asks
    if kind == TEXT and content_type.startswith("text/plain"):
        return Question(RAW, body, top_k)
    is_json = content_type.startswith("application/json") or body[:1] == b"{"
    if kind in (SERIES, TABLE, USER) or is_json:
        return Question(JSON, body, top_k)
    return Question(RAW, body, top_k)


def is_multipart(content_type: str) -> bool:
    return content_type.startswith("multipart/form-data")


def multipart_question(scope: dict[str, Any], task: str, body: bytes, top_k: int | None) -> Question:
    """The question in a multipart body, whose file, or several of them, stand in the field "file". Slow: call it in a
    thread.

    Raises DomainError for what is no multipart body, or has no such field.
    """
    try:
        files = ASGIRequest(scope, BytesIO(body)).FILES.getlist(FILE_FIELD)
    except TooManyFilesSent as error:
        most = settings.DATA_UPLOAD_MAX_NUMBER_FILES
        message = f"One request may have {most} files. Send them in parts."
        raise TooLarge(message, code="too_many_files", field=FILE_FIELD) from error
    except (MultiPartParserError, RequestDataTooBig, SuspiciousOperation) as error:
        raise DomainError(f"The multipart body cannot be read: {error}", code="invalid_multipart") from error
    if not files:
        message = 'The multipart body has no file in the field "file". Send one as curl -F file=@NAME does.'
        raise Unprocessable(message, code="missing_file", field=FILE_FIELD)
    if len(files) > 1 and TASKS[task].asks in (AUDIO, IMAGE):
        return _several(files, top_k)
    with files[-1] as file:
        return to_question(task, file.content_type or "", file.read(), top_k)


def _several(files: Sequence[UploadedFile], top_k: int | None) -> Question:
    bodies = []
    for file in files:
        with file:
            bodies.append(file.read())
    return Question(FILES, b"".join(bodies), top_k, {"sizes": [len(one) for one in bodies]})


def read_top_k(text: str | None) -> int | None:
    """Raises Unprocessable unless `text` is absent or a number from 1 to 1000."""
    if text is None or text == "":
        return None
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:6]) <= MAX_TOP_K:
        message = f"top_k must be a whole number from 1 to {MAX_TOP_K}; it was {text[:20]!r}."
        raise Unprocessable(message, code="out_of_range", field="top_k")
    return int(text)
