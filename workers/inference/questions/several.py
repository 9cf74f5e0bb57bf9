"""Files as questions: one, several, or a list of base64; and a question with many items, cut into smaller ones.

Standard library only: the site cuts what it answers line by line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate
from typing import Any

from workers.contract import ProgramFailure
from workers.inference.framing import FILES, JSON, RAW, SAMPLE, Question
from workers.inference.questions.json_body import decode_file, read_object

# How many of each are answered at once line by line.
LISTS = {"images": 8, "recordings": 4, "rows": 256, "texts": 32, "users": 32}


def read_files(
    sample: bytes, question: Question, one: str, many: str, noun: str, most: int
) -> tuple[list[bytes], bool]:
    """The files in a question, and whether it asks for one outcome only. In JSON one stands under `one`, several under
    `many`. Raises ProgramFailure."""
    if question.content == SAMPLE:
        return [sample], True
    if question.content == RAW:
        return [question.body], True
    if question.content == FILES:
        _check_count(len(question.options["sizes"]), most, many)
        return _cut_body(question), False
    asked = read_object(question.body, f'{{"{one}": "<base64>"}}, or {{"{many}": [...]}} for several')
    if many not in asked:
        return [decode_file(asked, one, noun)], True
    if not isinstance(asked[many], list) or not asked[many]:
        raise ProgramFailure("invalid_request", f'The JSON has no list under "{many}".', field=many)
    _check_count(len(asked[many]), most, many)
    return [decode_file({one: text}, one, noun) for text in asked[many]], False


def _check_count(count: int, most: int, many: str) -> None:
    if count > most:
        message = f"{count:,} {many} are too many for one request; at most {most:,} are answered."
        raise ProgramFailure(f"too_many_{many}", message, hint="Send them in parts.", field=many)


def _cut_body(question: Question) -> list[bytes]:
    ends = list(accumulate(question.options["sizes"]))
    return [question.body[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def parts_of(question: Question, most: int | None = None) -> Iterator[Question]:
    """The question in parts of `most` items, or of as many as `LISTS` says; one item is one part.

    What is wrong with its form the replica says. Slow for large JSON.
    """
    if question.content == FILES:
        yield from _parts_of_files(question, most or LISTS["images"])
        return
    asked = _read(question.body) if question.content == JSON else None
    name = next((name for name in LISTS if isinstance(asked, dict) and isinstance(asked.get(name), list)), None)
    if name is None or not asked[name]:
        yield question
        return
    step = most or LISTS[name]
    for start in range(0, len(asked[name]), step):
        part = asked | {name: asked[name][start : start + step]}
        yield replace(question, body=json.dumps(part).encode())


def _parts_of_files(question: Question, step: int) -> Iterator[Question]:
    files = _cut_body(question)
    for start in range(0, len(files), step):
        part = files[start : start + step]
        sizes = {"sizes": [len(file) for file in part]}
        yield replace(question, body=b"".join(part), options=question.options | sizes)


def _read(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
