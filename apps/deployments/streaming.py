"""Many items in one request, answered as lines of JSON (NDJSON) while the rest is still computed. Pure.

A question with several items is cut into parts of one batch each, which are asked one after the other; each item gets a
line, in order, with its outcome or its error.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate
from typing import Any

from apps.core.errors import DomainError
from workers.inference.framing import FILES, JSON, Frame, Question

MEDIA_TYPE = "application/x-ndjson"
LISTS = {"images": 8, "rows": 256, "texts": 32}  # how many of each make a part


def wants_lines(accept: str) -> bool:
    return MEDIA_TYPE in accept.lower()


def parts_of(question: Question) -> Iterator[Question]:
    """The question in parts, each with several items. Slow for large JSON. Raises DomainError for JSON that is none.

    One item is one part; whatever is wrong with its form the replica says.
    """
    if question.content == FILES:
        yield from _files(question)
        return
    asked = _read(question) if question.content == JSON else None
    name = next((name for name in LISTS if isinstance(asked, dict) and isinstance(asked.get(name), list)), None)
    if name is None or not asked[name]:
        yield question
        return
    for start in range(0, len(asked[name]), LISTS[name]):
        part = {name: asked[name][start : start + LISTS[name]]}
        yield replace(question, body=json.dumps(part).encode(), options={"each": True})


def _files(question: Question) -> Iterator[Question]:
    sizes, step = question.options["sizes"], LISTS["images"]
    ends = [0, *accumulate(sizes)]
    for start in range(0, len(sizes), step):
        stop = min(start + step, len(sizes))
        body = question.body[ends[start] : ends[stop]]
        yield replace(question, body=body, options={"sizes": sizes[start:stop], "each": True})


def _read(question: Question) -> Any:
    try:
        return json.loads(question.body)
    except (ValueError, RecursionError) as error:
        raise DomainError(f"The body is not JSON: {error}.", code="invalid_json") from error


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
