"""The home page, and the search over everything."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from apps.core.htmx import render_live
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
