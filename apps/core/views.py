"""What belongs to no noun: health, the docs page, and the answers to errors that Django itself finds."""

from django.contrib.auth.decorators import login_not_required
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache

from apps.core.errors import DomainError, Forbidden, NotFound
from apps.core.middleware import answer_error


class ServerError(DomainError):
    status = 500
    code = "server_error"


@login_not_required
@never_cache
def healthz(request: HttpRequest) -> JsonResponse:
    """200 while this process can answer and reaches the database; 503 otherwise."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return JsonResponse({"status": "database unavailable"}, status=503)
    return JsonResponse({"status": "ok"})


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return answer_error(request, DomainError(_("The server does not understand this request."), code="bad_request"))


def permission_denied(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return answer_error(request, Forbidden(_("Your role does not allow this.")))


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    message = _("This form is too old or came from another site. Load the page again, then repeat what you did.")
    return answer_error(request, Forbidden(message, code="csrf_failed"))


def page_not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return answer_error(request, NotFound(_("There is nothing here, or it belongs to another team.")))


def server_error(request: HttpRequest) -> HttpResponse:
    message = _("Something broke on our side. Nothing you did is lost; the log of the server says what happened.")
    return answer_error(request, ServerError(message))
