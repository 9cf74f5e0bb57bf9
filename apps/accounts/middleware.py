"""Which language a request is answered in, and which team it works in."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import translation

TEAM_KEY = "team_id"


class LanguageMiddleware:
    """The language that a person has chosen comes before what LocaleMiddleware found in the cookie and the browser."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        chosen = request.user.language if request.user.is_authenticated else ""
        if chosen in dict(settings.LANGUAGES):  # one that this site no longer speaks is no choice
            translation.activate(chosen)
            request.LANGUAGE_CODE = chosen
        return self.get_response(request)


class TeamMiddleware:
    """Sets `request.team` and `request.membership` (None without a team) and `request.memberships` for the switcher.

    The session remembers the team; a team the person is not a member of any more is forgotten.
    """

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.memberships = []
        if request.user.is_authenticated:
            request.memberships = list(request.user.memberships.select_related("team").order_by("created_at", "id"))
        chosen = request.session.get(TEAM_KEY) if request.memberships else None
        request.membership = next(
            (membership for membership in request.memberships if membership.team_id == chosen),
            request.memberships[0] if request.memberships else None,
        )
        request.team = request.membership.team if request.membership else None
        return self.get_response(request)
