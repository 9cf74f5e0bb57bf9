"""What all things at the site have in common: list, get, follow."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from leptonai.errors import NotFoundError, WaitTimeout
from leptonai.records import Record
from leptonai.transport import Http

POLL_SECONDS = 0.5


class Resource:
    """One kind of thing. `reference` is an id, a name, or a record of it."""

    path = ""

    def __init__(self, http: Http) -> None:
        self._http = http

    def list(self, **filters: Any) -> list[Record]:
        """All of the team's, newest first; filters such as name="digits" or status="running"."""
        return all_pages(self._http, self.path, **filters)

    def get(self, reference: int | str | Mapping) -> Record:
        """Raises NotFoundError."""
        return self._http.request("GET", f"{self.path}{self._id(reference)}/")

    def _id(self, reference: int | str | Mapping) -> int:
        if isinstance(reference, Mapping):
            return reference["id"]
        if isinstance(reference, int):
            return reference
        page = self._http.request("GET", self.path, params={"name": reference})
        if not page["results"]:
            raise NotFoundError(f'There is nothing called "{reference}" here.', status=404, code="not_found")
        return page["results"][0]["id"]

    def _follow(self, reference: Any, is_done: Callable[[Record], bool], timeout: float | None) -> Iterator[Record]:
        """The thing each time it has changed, until it is done. Raises WaitTimeout after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        reference = self._id(reference)
        last = None
        while True:
            record = self.get(reference)
            if record != last:
                yield record
            if is_done(record):
                return
            if deadline is not None and time.monotonic() > deadline:
                raise WaitTimeout(f"{self.path} {reference} is not done after {timeout:g} s; it goes on at the site.")
            last = record
            time.sleep(POLL_SECONDS)


def all_pages(http: Http, path: str, **filters: Any) -> list[Record]:
    """Everything that a list of the site has, page by page."""
    found: list[Record] = []
    while True:
        page = http.request("GET", path, params={**filters, "limit": 200, "offset": len(found)})
        found += page["results"]
        if not page["next"] or not page["results"]:
            return found


def last(records: Iterator[Record]) -> Record:
    """How it ended."""
    return deque(records, maxlen=1)[0]


def save_file(http: Http, path: str, target: Path) -> Path:
    """Download `path` of the site to `target`; a download that breaks off leaves nothing behind."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(target.name + ".part")
    with open(temporary, "wb") as file:
        http.stream_to(path, file)
    return temporary.replace(target)
