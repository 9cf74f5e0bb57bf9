"""Many items in one request, answered as lines of JSON (NDJSON) while the rest is still computed. Pure.

A question with several items is cut into parts of one batch each, which are asked one after the other; each item gets a
line, in order, with its outcome or its error.
"""

import json
from dataclasses import replace
from typing import Any

from apps.core.errors import DomainError
from workers.inference.framing import Frame, Question
from workers.inference.questions.several import parts_of

MEDIA_TYPE = "application/x-ndjson"


def wants_lines(accept: str) -> bool:
    return MEDIA_TYPE in accept.lower()


def questions_of(question: Question) -> list[Question]:
    """One for each part; of its items each gets its outcome or its error. Slow for large JSON: call it in a thread."""
    parts = list(parts_of(question))
    if len(parts) == 1 and parts[0] is question:
        return parts
    return [replace(part, options=part.options | {"each": True}) for part in parts]


def lines_of(frame: Frame, first: int) -> tuple[bytes, int]:
    """The lines of a part's answer, whose first item has the number `first`, and how many they are.

    Raises DomainError where the whole part could not be answered.
    """
    payload = json.loads(frame.body)
    if frame.status != 200:
        raise _refused(frame.status, payload["error"])
    outcomes = payload.get("predictions", [payload])
    lines = [json.dumps({"index": number} | outcome) for number, outcome in enumerate(outcomes, first)]
    return "".join(f"{line}\n" for line in lines).encode(), len(lines)


def _refused(status: int, told: dict[str, Any]) -> DomainError:
    error = DomainError(told["message"], code=told["code"], field=told.get("field", ""))
    error.status = status
    return error


def line_of_error(error: DomainError, number: int) -> bytes:
    """The last line where the rest cannot be answered."""
    return (json.dumps({"index": number} | error.as_dict()) + "\n").encode()
