"""Turns a DomainError that a view lets through into an answer a person can read."""

from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.template.loader import render_to_string
from django.utils.translation import gettext as _

from apps.core.errors import DomainError, MethodNotAllowed, refused_by_the_database

PROGRAM_PATHS = ("/api/", "/v1/")


class DomainErrorMiddleware:
    """JSON for programs, a toast for htmx, a page for everyone else; always the real status and code. So too for what
    Django itself answers without a word: a method that an address does not take."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        return answer_method(request, response) if isinstance(response, HttpResponseNotAllowed) else response

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        error = exception if isinstance(exception, DomainError) else refused_by_the_database(exception)
        return answer_error(request, error) if error else None


def answer_method(request: HttpRequest, response: HttpResponseNotAllowed) -> HttpResponse:
    """A sentence in place of the empty answer."""
    message = _(
        "This address takes %(methods)s alone, and was asked by %(method)s. It belongs to a button: go back to the "
        "page and use that."
    ) % {"methods": response["Allow"].replace(", ", _(" or ")), "method": request.method}
    answer = answer_error(request, MethodNotAllowed(message))
    answer["Allow"] = response["Allow"]
    return answer


def answer_error(request: HttpRequest, error: DomainError) -> HttpResponse:
    """The error in the form this client reads. Needs neither session nor database, which may be what broke."""
    if request.path.startswith(PROGRAM_PATHS) or not request.accepts("text/html"):
        response = JsonResponse(error.as_dict(), status=error.status)
    elif "HX-Request" in request.headers:
        response = HttpResponse(render_to_string("core/toast.html", {"error": error}), status=error.status)
        response["HX-Retarget"] = "#toasts"
        response["HX-Reswap"] = "beforeend"
    else:
        response = HttpResponse(render_to_string("core/error.html", {"error": error}), status=error.status)
    for name, value in error.headers().items():
        response[name] = value
    return response
