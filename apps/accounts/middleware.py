"""Which team a request works in."""

from django.http import HttpRequest, HttpResponse

TEAM_KEY = "team_id"


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
