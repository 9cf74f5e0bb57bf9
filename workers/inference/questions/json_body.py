"""The body of a question as JSON, as a file within JSON, or as text."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
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


def refuse_unknown(asked: dict[str, Any], known: Sequence[str]) -> None:
    """Raises ProgramFailure (unknown_field) for a field that is none of the `known`."""
    if stray := next((name for name in asked if name not in known), None):
        message = f'There is no field "{stray[:40]}".'
        raise ProgramFailure("unknown_field", message, hint=f"There are {', '.join(known)}.", field=stray[:40])


def decode_file(asked: dict[str, Any], field: str, what: str) -> bytes:
    """The bytes of a file that stands in base64 under `field`, also as a data URI. Raises ProgramFailure."""
    text = asked.get(field)
    if not isinstance(text, str):
        raise ProgramFailure(
            "invalid_request",
            f'The JSON has no text under "{field}".',
            hint=f'Send {{"{field}": "<base64 of {what}>"}}, or the bytes of the file as the body.',
            field=field,
        )
    try:
        return base64.b64decode(text.partition("base64,")[2] or text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ProgramFailure("invalid_base64", f'The text under "{field}" is not base64.', field=field) from error


def decode_text(body: bytes) -> str:
    """Raises ProgramFailure (empty_body, wrong_encoding)."""
    if not body.strip():
        raise ProgramFailure("empty_body", "The request has no body.", hint="Send the text, in UTF-8.")
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"The body is not UTF-8: byte {error.start + 1} cannot be read."
        raise ProgramFailure("wrong_encoding", message, hint="Send the text in UTF-8.") from error
