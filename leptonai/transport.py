"""HTTP: authentication, retries where they are safe, and errors as exceptions."""

import time
from typing import Any

import httpx

from leptonai.errors import BY_STATUS, ApiError, ConnectionFailed
from leptonai.records import Record

RETRIES = 4
FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 5.0
BUSY = (429, 503)


class Http:
    """One connection pool to one site. `transport` lets tests talk to a site without a network."""

    def __init__(self, base_url: str, api_key: str, timeout: float, transport: httpx.BaseTransport | None) -> None:
        self.base_url = base_url.rstrip("/")
        headers = {"Authorization": f"Bearer {api_key}", "Accept": "application/json"}
        self._client = httpx.Client(base_url=self.base_url, headers=headers, timeout=timeout, transport=transport)

    def close(self) -> None:
        self._client.close()

    def request(self, method: str, path: str, *, is_safe_to_repeat: bool | None = None, **options: Any) -> Any:
        """Send and decode. GET, PUT and what is marked safe is repeated when the connection drops or the site is busy.

        Raises ApiError (by status) or ConnectionFailed.
        """
        repeatable = method in ("GET", "PUT") if is_safe_to_repeat is None else is_safe_to_repeat
        response = self._send(method, path, RETRIES if repeatable else 0, options)
        if response.status_code == 204 or not response.content:
            return None
        return Record.wrap(response.json())

    def _send(self, method: str, path: str, retries: int, options: dict[str, Any]) -> httpx.Response:
        for round_ in range(retries + 1):
            pause = min(FIRST_PAUSE_SECONDS * 2**round_, LONGEST_PAUSE_SECONDS)
            try:
                response = self._client.request(method, path, **options)
            except httpx.TransportError as error:
                if round_ == retries:
                    raise self._unreachable(error) from error
            else:
                if response.is_success:
                    return response
                error = to_error(response)
                if round_ == retries or response.status_code not in BUSY:
                    raise error
                pause = min(max(pause, error.retry_after_seconds), LONGEST_PAUSE_SECONDS)
            time.sleep(pause)
        raise AssertionError("unreachable")

    def stream_to(self, path: str, file: Any) -> None:
        """Download `path` into an open binary file."""
        try:
            with self._client.stream("GET", path) as response:
                if not response.is_success:
                    response.read()
                    raise to_error(response)
                for block in response.iter_bytes():
                    file.write(block)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> ConnectionFailed:
        return ConnectionFailed(f"{self.base_url} does not answer: {error or type(error).__name__}")


def to_error(response: httpx.Response) -> ApiError:
    """The exception for a refused request, from the site's {"error": {...}}."""
    kind = BY_STATUS.get(response.status_code, ApiError)
    try:
        error = response.json()["error"]
    except (ValueError, KeyError, TypeError):
        error = {"message": f"The site answered {response.status_code} {response.reason_phrase}."}
    return kind(
        error.get("message", ""),
        status=response.status_code,
        code=error.get("code", ""),
        field=error.get("field", ""),
        details=error.get("details"),
        retry_after_seconds=_seconds(response.headers.get("Retry-After", "")),
    )


def _seconds(value: str) -> float:
    return float(value) if value.isdigit() else 0.0
