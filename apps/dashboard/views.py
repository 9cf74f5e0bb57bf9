"""The home page."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from apps.core.htmx import render_live
from apps.dashboard.overview import gather


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
