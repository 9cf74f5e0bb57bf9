"""The home page, the search over everything, and what has happened."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET

from apps.core.htmx import STOP_POLLING, render_live
from apps.dashboard import news
from apps.dashboard.overview import gather
from apps.dashboard.search import search


@require_GET
def home(request: HttpRequest) -> HttpResponse:
    if request.team is None:
        return render(request, "dashboard/no_team.html")
    context = gather(request.team)
    return render_live(
        request,
        "dashboard/home.html",
        context,
        partials={"overview": "dashboard/_overview.html"},
        is_live=context["is_moving"],
    )


@require_GET
def search_page(request: HttpRequest) -> HttpResponse:
    """What ?q= finds; for htmx the list alone. Whoever is in no team finds nothing."""
    text = request.GET.get("q", "").strip()
    groups = search(request.team, text) if request.team else []
    template = "dashboard/_found.html" if request.htmx else "dashboard/search.html"
    return render(request, template, {"text": text, "groups": groups})


@require_GET
def news_page(request: HttpRequest) -> HttpResponse:
    """What has happened; whoever has looked knows it."""
    if request.team is None:
        return redirect("dashboard:home")
    items = news.news_for(request.membership)
    news.see(request.membership)
    return render(request, "dashboard/news.html", {"items": items})


@require_GET
def bell(request: HttpRequest) -> HttpResponse:
    """The bell alone, for a page that stays open."""
    if request.team is None:
        return HttpResponse(status=STOP_POLLING)
    found = news.bell_of(request.membership)
    return render(request, "dashboard/_bell.html", found, status=200 if found["is_live"] else STOP_POLLING)
