"""Errors that are sentences for the user, with the right status and a stable code.

DomainError            400
├── NotFound           404   also for what belongs to another team
├── MethodNotAllowed   405
├── Forbidden          403
│   └── QuotaExceeded  403   with the numbers
├── Conflict           409
├── TooLarge           413
├── Unprocessable      422
├── TooManyRequests    429   with retry_after_seconds
├── Unavailable        503   with retry_after_seconds
└── StorageFull        507
"""

from typing import Any

from django.db import DataError
from django.utils.translation import gettext as _

NULL_CHARACTER = ("NUL", "\\u0000")  # as PostgreSQL names it, in texts and in JSON


class DomainError(Exception):
    """`message` says what was wrong, where, and what to do; `code` never changes; `field` names the form field."""

    status = 400
    code = "invalid"

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        field: str = "",
        details: dict[str, Any] | None = None,
        retry_after_seconds: int = 0,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.code
        self.field = field
        self.details = details or {}
        self.retry_after_seconds = retry_after_seconds

    def as_dict(self) -> dict[str, Any]:
        """The one JSON form every endpoint answers errors in."""
        error: dict[str, Any] = {"code": self.code, "message": str(self.message)}
        if self.field:
            error["field"] = self.field
        if self.details:
            error["details"] = self.details
        return {"error": error}

    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(self.retry_after_seconds)} if self.retry_after_seconds else {}


class NotFound(DomainError):
    status = 404
    code = "not_found"


class MethodNotAllowed(DomainError):
    status = 405
    code = "method_not_allowed"


class Forbidden(DomainError):
    status = 403
    code = "forbidden"


class QuotaExceeded(Forbidden):
    code = "quota_exceeded"


class Conflict(DomainError):
    status = 409
    code = "conflict"


class TooLarge(DomainError):
    status = 413
    code = "too_large"


class Unprocessable(DomainError):
    status = 422
    code = "unprocessable"


class TooManyRequests(DomainError):
    status = 429
    code = "too_many_requests"


class Unavailable(DomainError):
    status = 503
    code = "unavailable"


class StorageFull(DomainError):
    status = 507
    code = "storage_full"


def refused_by_the_database(exception: Exception) -> Unprocessable | None:
    """What a client has sent that no text of PostgreSQL may hold; None for every other exception."""
    if isinstance(exception, DataError) and any(name in str(exception) for name in NULL_CHARACTER):
        return Unprocessable(_("What you sent has a null character (U+0000). Leave it out."), code="null_character")
    return None
