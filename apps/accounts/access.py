"""What a role allows. Each function returns nothing, or raises Forbidden with a sentence."""

from django.http import HttpRequest
from django.utils.translation import gettext as _

from apps.core.errors import Forbidden


def require_team(request: HttpRequest) -> None:
    """Refuse a person who is in no team."""
    if request.membership is None:
        raise Forbidden(_("You are not in a team yet. Make one, or ask to be invited."), code="no_team")


def require_write(request: HttpRequest) -> None:
    """Refuse viewers."""
    require_team(request)
    if not request.membership.may_write:
        raise Forbidden(_("Viewers can look but not change. Ask an owner of the team for the role Member."))


def require_manage(request: HttpRequest) -> None:
    """Refuse whoever is neither owner nor admin of the team."""
    require_team(request)
    if not request.membership.may_manage:
        raise Forbidden(_("Only owners and admins of the team can do this. Ask one of them."))


def require_administrator(request: HttpRequest) -> None:
    """Refuse whoever does not run the whole site."""
    if not request.user.is_superuser:
        raise Forbidden(_("Only administrators of the site can do this. Ask one of them."))
