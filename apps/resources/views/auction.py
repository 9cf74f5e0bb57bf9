"""The auction of a pool: the published price, the team's credits and account, and its own sealed bids."""

from datetime import timedelta

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from apps.accounts.access import require_team, require_write
from apps.core.errors import Conflict, DomainError
from apps.core.htmx import render_live
from apps.resources.forms import BidForm
from apps.resources.market import bidding_claims, demand_of, next_credits_at, place_bid
from apps.resources.models import Allocation, ClearingPrice, Pool
from apps.resources.quotas import share_of
from apps.resources.views.choosing import chosen_pool

PRICE_DAYS = 30
MOST_POINTS = 2000
SHOWN_ENTRIES = 30
LIVE = {"auction-live": "resources/_auction-live.html", "auction-account": "resources/_auction-account.html"}


@require_GET
def auction(request: HttpRequest) -> HttpResponse:
    require_team(request)
    pool, pools = _auctioned(request)
    if pool is None:
        return render(request, "resources/no_auction.html", {"pool": None})
    context = {**_live(request, pool), "pools": pools, "prices": _prices(pool)}
    return render_live(request, "resources/auction.html", context, partials=LIVE, is_live=True)


def _auctioned(request: HttpRequest) -> tuple[Pool | None, list[Pool]]:
    """The pool asked for; without a word about it the first that is auctioned."""
    pools = list(Pool.objects.filter(policy=Pool.Policy.AUCTION).order_by("id"))
    wanted = chosen_pool(request) if request.GET.get("pool") or request.POST.get("pool") else None
    if wanted is None:
        return (pools[0] if pools else None), pools
    return (wanted if wanted in pools else None), pools


def _live(request: HttpRequest, pool: Pool) -> dict:
    share = share_of(request.team, pool)
    claims = list(bidding_claims(request.team, pool))
    for claim in claims:
        claim.form = BidForm(initial={"bid": f"{claim.bid:g}"})
    return {
        "pool": pool,
        "share": share,
        "claims": claims,
        "price": pool.clearing_prices.values_list("price", flat=True).first(),
        "spending": sum(claim.price * claim.devices_asked for claim in claims),
        "next_at": next_credits_at(pool),
        "entries": share.entries.select_related("allocation__job").order_by("-at", "-id")[:SHOWN_ENTRIES],
        "demand": demand_of(pool) if request.user.is_superuser else None,
    }


def _prices(pool: Pool) -> dict:
    """The published prices for the chart: a price holds until the next one, so it is drawn up to now."""
    since = timezone.now() - timedelta(days=PRICE_DAYS)
    rows = list(ClearingPrice.objects.filter(pool=pool, at__gte=since).values_list("at", "price")[:MOST_POINTS])[::-1]
    if rows:
        rows.append((timezone.now(), rows[-1][1]))
    return {
        "x": [at.timestamp() for at, _price in rows],
        "isTime": True,
        "yLabel": _("credits for a device-hour"),
        "series": [{"label": _("Price"), "values": [price for _at, price in rows], "isStepped": True}],
    }


@require_POST
def bid(request: HttpRequest, allocation_id: int) -> HttpResponse:
    """A new bid on work of the own team; everybody else's is not found."""
    require_write(request)
    rows = Allocation.objects.filter(team=request.team).select_related("pool", "team")
    claim = get_object_or_404(rows, pk=allocation_id)
    if claim.pool.policy != Pool.Policy.AUCTION:
        raise Conflict(_("This pool is not auctioned, so there is nothing to bid for."), code="no_auction")
    form, status = BidForm(request.POST), 422
    if form.is_valid():
        try:
            place_bid(allocation=claim, bid=form.cleaned_data["bid"], user=request.user)
            status = 200
        except DomainError as error:
            form.add_error("bid", error.message)
            status = error.status
    return _answer(request, claim, form, status)


def _answer(request: HttpRequest, claim: Allocation, form: BidForm, status: int) -> HttpResponse:
    if not request.htmx and status == 200:
        messages.success(request, _("Your bid is placed."))
        return redirect(f"{reverse('resources:auction')}?pool={claim.pool.name}")
    context = _live(request, claim.pool)
    for shown in context["claims"]:
        if shown.pk == claim.pk and status != 200:
            shown.form = form
    context |= {"is_live": status == 200, "prices": _prices(claim.pool), "pools": []}
    if not request.htmx:
        return render(request, "resources/auction.html", context, status=status)
    response = render(request, LIVE["auction-live"], context, status=status)
    response["HX-Retarget"], response["HX-Reswap"] = "#auction-live", "outerHTML"
    return response
