"""What can go wrong, as a tree.

LeptonError
├── ConnectionFailed           the site did not answer
├── WaitTimeout                what was waited for takes longer than was allowed
├── Failed                     a job or a data set ended badly; code, message and hint say why
└── ApiError                   the site refused; status, code, message, field, details
    ├── AuthenticationError    401
    ├── PermissionDenied       403
    ├── NotFoundError          404
    ├── ConflictError          409
    ├── TooLargeError          413
    ├── InvalidRequest         400, 422
    ├── RateLimited            429; retry_after_seconds
    └── UnavailableError       503, 507; retry_after_seconds
"""

from typing import Any


class LeptonError(Exception):
    """Everything this package raises on purpose."""


class ConnectionFailed(LeptonError):
    """The site did not answer."""


class WaitTimeout(LeptonError):
    """It takes longer than was allowed. It goes on at the site."""


class Failed(LeptonError):
    """A job, a data set or a deployment ended badly."""

    def __init__(self, message: str, *, code: str = "", hint: str = "") -> None:
        super().__init__(f"{message} {hint}".strip())
        self.code, self.message, self.hint = code, message, hint


class ApiError(LeptonError):
    """The site refused a request. `code` is stable; the message is a sentence for people."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str = "",
        field: str = "",
        details: dict[str, Any] | None = None,
        retry_after_seconds: float = 0,
    ) -> None:
        super().__init__(f"{message} [{code}]" if code else message)
        self.message, self.status, self.code, self.field = message, status, code, field
        self.details = details or {}
        self.retry_after_seconds = retry_after_seconds


class AuthenticationError(ApiError):
    """The key is missing, wrong or revoked."""


class PermissionDenied(ApiError):
    """The role does not allow it, or a quota is used up."""


class NotFoundError(ApiError):
    """There is no such thing, or it belongs to another team."""


class ConflictError(ApiError):
    """It does not fit what is there: a name that is taken, a state that does not allow it."""


class TooLargeError(ApiError):
    """The file or body is larger than the site accepts."""


class InvalidRequest(ApiError):
    """The input is wrong; `field` says where."""


class RateLimited(ApiError):
    """Too many requests."""


class UnavailableError(ApiError):
    """The site cannot do this now."""


BY_STATUS: dict[int, type[ApiError]] = {
    400: InvalidRequest,
    401: AuthenticationError,
    403: PermissionDenied,
    404: NotFoundError,
    409: ConflictError,
    413: TooLargeError,
    422: InvalidRequest,
    429: RateLimited,
    503: UnavailableError,
    507: UnavailableError,
}
