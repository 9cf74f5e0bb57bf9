"""The body of a question as JSON or as text."""

from __future__ import annotations

import json
from typing import Any

from workers.contract import ProgramFailure


def read_object(body: bytes, form: str) -> dict[str, Any]:
    """The JSON object in `body`. Raises ProgramFailure."""
    if not body.strip():
        raise ProgramFailure("empty_body", "The request has no body.", hint=f"Send {form}.")
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ProgramFailure("invalid_json", f"The body is not JSON: {error}.", hint=f"Send {form}.") from error
    if not isinstance(value, dict):
        raise ProgramFailure("invalid_request", "The JSON is not an object.", hint=f"Send {form}.")
    return value


def decode_text(body: bytes) -> str:
    """Raises ProgramFailure (empty_body, wrong_encoding)."""
    if not body.strip():
        raise ProgramFailure("empty_body", "The request has no body.", hint="Send the text, in UTF-8.")
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"The body is not UTF-8: byte {error.start + 1} cannot be read."
        raise ProgramFailure("wrong_encoding", message, hint="Send the text in UTF-8.") from error
