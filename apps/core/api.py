"""The one form in which all REST endpoints answer errors."""

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.utils.translation import gettext as _
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

from apps.core.errors import (
    DomainError,
    Forbidden,
    NotFound,
    TooManyRequests,
    Unprocessable,
    refused_by_the_database,
)


def exception_handler(exception: Exception, context: dict) -> Response | None:
    """Answer {"error": {"code", "message", "field"?, "details"?}} for every error a client can cause."""
    set_rollback()
    error = to_domain_error(exception)
    if error is None:
        return None
    headers = error.headers()
    if isinstance(exception, exceptions.AuthenticationFailed | exceptions.NotAuthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    return Response(error.as_dict(), status=error.status, headers=headers)


def to_domain_error(exception: Exception) -> DomainError | None:
    """Translate Django's and DRF's exceptions; None for what is our own fault."""
    if isinstance(exception, DomainError):
        return exception
    if isinstance(exception, Http404):
        return NotFound(_("There is nothing here, or it belongs to another team."))
    if isinstance(exception, PermissionDenied):
        return Forbidden(str(exception) or _("Your role does not allow this."))
    if isinstance(exception, exceptions.ValidationError):
        return _validation_error(exception)
    if isinstance(exception, exceptions.NotAuthenticated):
        error = DomainError(_("Send an API key: “Authorization: Bearer lp_...”."), code="not_authenticated")
        error.status = exception.status_code
        return error
    if isinstance(exception, exceptions.Throttled):
        return TooManyRequests(
            _("Too many requests. Wait a little, then ask again."), retry_after_seconds=int(exception.wait or 1)
        )
    if isinstance(exception, exceptions.APIException):
        error = DomainError(
            str(exception.detail), code=exception.get_codes() if isinstance(exception.detail, str) else ""
        )
        error.status = exception.status_code
        return error
    return refused_by_the_database(exception)


def _validation_error(exception: exceptions.ValidationError) -> DomainError:
    detail = exception.detail
    if isinstance(detail, list):
        return Unprocessable(_sentences(detail), code="invalid_input")
    fields = {name: _sentences(value) for name, value in detail.items()}
    field, message = next(iter(fields.items()))
    text = message if field == "non_field_errors" else f"{field}: {message}"
    return Unprocessable(text, code="invalid_input", field=field, details={"fields": fields})


def _sentences(detail: Any) -> str:
    """What is wrong in a field, also in the fields and items inside it."""
    if isinstance(detail, Mapping):
        return " ".join(
            _sentences(value) if name == "non_field_errors" else f"{name}: {_sentences(value)}"
            for name, value in detail.items()
        )
    if isinstance(detail, list | tuple):
        return " ".join(filter(None, map(_sentences, detail)))
    return str(detail)
