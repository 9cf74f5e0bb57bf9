"""How much a demo page answers: strangers have a rate, and the team's egress is metered."""

import time

from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from apps.core.errors import QuotaExceeded, TooManyRequests
from apps.deployments.models import Deployment
from apps.resources import metering

RATE_SECONDS = 60


def limit_rate(request: HttpRequest, most: int, weight: int = 1) -> None:
    """At most so many predictions a minute from one address that is not signed in; this counts as `weight` of them.
    Raises TooManyRequests."""
    if request.user.is_authenticated:
        return
    minute = int(time.time() // RATE_SECONDS)
    counter = f"demo:{request.META.get('REMOTE_ADDR', '')}:{minute}"
    cache.add(counter, 0, RATE_SECONDS)
    try:
        count = cache.incr(counter, weight)
    except ValueError:  # it expired between the two calls
        return
    if count > most:
        message = _("That was %(n)d predictions in a minute. Wait a moment, then go on.") % {"n": most}
        raise TooManyRequests(message, retry_after_seconds=RATE_SECONDS)


def check_egress(deployment: Deployment) -> None:
    """Strangers are told that nothing is answered, and not how much the team has sent. Raises QuotaExceeded."""
    try:
        metering.check_egress(deployment.team_id)
    except QuotaExceeded as error:
        raise QuotaExceeded(_("This demo has answered as much as it may this month. Come back next month.")) from error


def meter(deployment: Deployment, response: HttpResponse) -> HttpResponse:
    """Count what is sent as the team's."""
    metering.METER.add(deployment.team_id, metering.PREDICTION, len(response.content))
    return response
