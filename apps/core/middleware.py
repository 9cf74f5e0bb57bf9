"""Turns a DomainError that a view lets through into an answer a person can read."""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

from apps.core.errors import DomainError


class DomainErrorMiddleware:
    """JSON for programs, a toast for htmx, a page for everyone else; always the real status and code."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if not isinstance(exception, DomainError):
            return None
        if request.accepts("text/html"):
            response = self._page(request, exception)
        else:
            response = JsonResponse(exception.as_dict(), status=exception.status)
        for name, value in exception.headers().items():
            response[name] = value
        return response

    def _page(self, request: HttpRequest, error: DomainError) -> HttpResponse:
        if request.htmx:
            response = render(request, "core/toast.html", {"error": error}, status=error.status)
            response["HX-Retarget"] = "#toasts"
            response["HX-Reswap"] = "beforeend"
            return response
        return render(request, "core/error.html", {"error": error}, status=error.status)
