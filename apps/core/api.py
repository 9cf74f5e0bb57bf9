"""What all REST endpoints share: one error form, one pagination, one way to read JSON."""

from collections.abc import Mapping
from typing import Any, BinaryIO

from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.utils.translation import gettext as _
from rest_framework import exceptions
from rest_framework.pagination import LimitOffsetPagination
from rest_framework.parsers import JSONParser
from rest_framework.response import Response
from rest_framework.views import set_rollback

from apps.core.errors import DomainError, Forbidden, NotFound, TooManyRequests, Unprocessable


class Pagination(LimitOffsetPagination):
    default_limit = 50
    max_limit = 500


class TextParser(JSONParser):
    """JSON whose texts the database can hold and an answer can repeat: without NUL, without half a character."""

    def parse(self, stream: BinaryIO, media_type: str | None = None, parser_context: dict | None = None) -> Any:
        try:
            data = super().parse(stream, media_type, parser_context)
            _check_texts(data)
        except RecursionError as error:
            raise exceptions.ParseError(_("The JSON is nested too deeply.")) from error
        return data


def _check_texts(value: Any) -> None:
    if isinstance(value, str) and ("\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value)):
        raise exceptions.ParseError(_("The JSON has a text with a NUL character or with half of a surrogate pair."))
    if isinstance(value, dict | list):
        for part in (*value, *value.values()) if isinstance(value, dict) else value:
            _check_texts(part)


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
        return NotFound("There is nothing here, or it belongs to another team.")
    if isinstance(exception, PermissionDenied):
        return Forbidden(str(exception) or "Your role does not allow this.")
    if isinstance(exception, exceptions.ValidationError):
        return _validation_error(exception)
    if isinstance(exception, exceptions.NotAuthenticated):
        error = DomainError(_("Send an API key: “Authorization: Bearer lp_...”."), code="not_authenticated")
        error.status = exception.status_code
        return error
    if isinstance(exception, exceptions.Throttled):
        return TooManyRequests("Too many requests.", retry_after_seconds=int(exception.wait or 1))
    if isinstance(exception, exceptions.APIException):
        error = DomainError(
            str(exception.detail), code=exception.get_codes() if isinstance(exception.detail, str) else ""
        )
        error.status = exception.status_code
        return error
    return None


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
