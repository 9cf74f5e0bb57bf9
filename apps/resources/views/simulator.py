"""The policy simulator: what the last days of a pool would have been like under another policy."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from apps.accounts.access import require_administrator
from apps.core.errors import DomainError
from apps.core.htmx import render_live
from apps.resources.forms import SimulationForm
from apps.resources.models import Pool
from apps.resources.simulation import MOST_JOBS, Question
from apps.resources.simulator import RUNNING, ask_simulation, current_simulation
from apps.resources.views.choosing import all_pools, chosen_pool

PAGE = "resources/simulator.html"
LIVE = {"simulation": "resources/_simulation.html"}


@require_http_methods(["GET", "POST"])
def simulator(request: HttpRequest) -> HttpResponse:
    require_administrator(request)
    pool = chosen_pool(request)
    if request.method == "POST":
        return _ask(request, pool)
    context = _context(request, pool, SimulationForm(initial=_last_question(request, pool)))
    return render_live(request, PAGE, context, partials=LIVE, is_live=context["is_running"])


def _ask(request: HttpRequest, pool: Pool) -> HttpResponse:
    form, status = SimulationForm(request.POST), 422
    if form.is_valid():
        try:
            ask_simulation(user=request.user, question=Question(pool=pool.name, **form.cleaned_data))
            return redirect(f"{reverse('resources:simulator')}?pool={pool.name}")
        except DomainError as error:
            form.add_error(error.field if error.field in form.fields else None, error.message)
            status = error.status
    context = _context(request, pool, form)
    return render(request, PAGE, {**context, "is_live": context["is_running"]}, status=status)


def _last_question(request: HttpRequest, pool: Pool) -> dict:
    found = current_simulation(request.user)
    if found and found["question"]["pool"] == pool.name:
        return found["question"]
    return {"policy": Pool.Policy.FAIR_SHARE}


def _context(request: HttpRequest, pool: Pool, form: SimulationForm) -> dict:
    simulation = current_simulation(request.user)
    if simulation and simulation["question"]["pool"] != pool.name:
        simulation = None
    answer = simulation and simulation.get("answer")
    return {
        "pool": pool,
        "pools": all_pools(),
        "form": form,
        "simulation": simulation,
        "is_running": bool(simulation and simulation["state"] == RUNNING),
        "answer": answer,
        "most_jobs": MOST_JOBS,
        **(_words(answer) if answer else {}),
    }


def _words(answer: dict) -> dict:
    before, after = (str(Pool.Policy(answer[f"policy_{when}"]).label) for when in ("before", "after"))
    queue = answer["queue"]
    return {
        "name_before": before,
        "name_after": after,
        "chart": {
            "x": queue["x"],
            "isTime": True,
            "yLabel": _("jobs waiting"),
            "series": [
                {"label": _("As it is"), "values": queue["before"], "isStepped": True},
                {"label": _("As it might be"), "values": queue["after"], "isStepped": True},
            ],
        },
    }
