"""Quotas: what every team was promised beside what it uses; administrators change a cell in place."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from apps.accounts.access import require_administrator, require_team
from apps.accounts.models import Team
from apps.core.errors import DomainError, NotFound
from apps.core.htmx import render_live
from apps.resources.forms import QuotaForm, WeightForm
from apps.resources.models import Pool, Quota
from apps.resources.quotas import resources_of, set_quota, set_weight
from apps.resources.standing import TeamStanding, excesses, standings
from apps.resources.units import write_amount
from apps.resources.views.choosing import all_pools, chosen_pool

WEIGHT = "weight"
PARTIALS = {"quota-warnings": "resources/_quota-warnings.html"}


@require_GET
def quotas(request: HttpRequest) -> HttpResponse:
    """Administrators see every team; everybody else what is left of the own team's."""
    pool = chosen_pool(request)
    context = {"pool": pool, "pools": all_pools(), "excesses": []}
    if request.user.is_superuser:
        teams = Team.objects.order_by("name")
        context |= {"teams": standings(pool, teams), "excesses": excesses(pool), "columns": _columns(pool)}
    else:
        require_team(request)
        context["own"] = standings(pool, [request.team])[0]
    return render_live(request, "resources/quotas.html", context, partials=PARTIALS, is_live=True)


def _columns(pool: Pool) -> list[str]:
    return [Quota.Resource(name).label for name in resources_of(pool)]


@require_http_methods(["GET", "POST"])
def quota(request: HttpRequest, team_slug: str, what: str) -> HttpResponse:
    """One cell of the table: shown, opened for a change, saved. Without htmx a page with the same form."""
    team = _find_team(request, team_slug)
    pool = chosen_pool(request)
    if what != WEIGHT and what not in resources_of(pool):
        raise NotFound(_("This pool promises no such thing."))
    if request.method == "POST":
        return _save(request, team, pool, what)
    if request.htmx and request.GET.get("closed"):
        return _cell(request, team, pool, what)
    return _editor(request, team, pool, what, _form(standings(pool, [team])[0], what))


def _find_team(request: HttpRequest, slug: str) -> Team:
    team = Team.objects.filter(slug=slug).first()
    if team is None or not (request.user.is_superuser or team == request.team):
        raise NotFound(_("There is nothing here, or it belongs to another team."))
    require_administrator(request)
    return team


def _form(standing: TeamStanding, what: str, data=None) -> QuotaForm | WeightForm:
    if what == WEIGHT:
        return WeightForm(data, initial={"weight": f"{standing.weight:g}"}, auto_id=f"id_{standing.team.pk}_{what}_%s")
    promise = standing.of(what).promise
    shown = {
        "guaranteed": write_amount(what, promise.guaranteed or None),
        "limit": write_amount(what, promise.limit),
        "user_limit": write_amount(what, promise.user_limit),
    }
    return QuotaForm(data, resource=what, initial=shown, auto_id=f"id_{standing.team.pk}_{what}_%s")


def _save(request: HttpRequest, team: Team, pool: Pool, what: str) -> HttpResponse:
    form = _form(standings(pool, [team])[0], what, request.POST)
    if not form.is_valid():
        return _editor(request, team, pool, what, form, status=422)
    try:
        if what == WEIGHT:
            set_weight(team=team, pool=pool, weight=form.cleaned_data["weight"], user=request.user)
        else:
            set_quota(team=team, pool=pool, resource=what, user=request.user, **form.values())
    except DomainError as error:
        form.add_error(error.field if error.field in form.fields else None, error.message)
        return _editor(request, team, pool, what, form, status=error.status)
    if request.htmx:
        response = _cell(request, team, pool, what)
        response["HX-Trigger"] = "quotas-changed"
        return response
    return redirect(f"{reverse('resources:quotas')}?pool={pool.name}")


def _cell(request: HttpRequest, team: Team, pool: Pool, what: str) -> HttpResponse:
    standing = standings(pool, [team])[0]
    context = {"pool": pool, "standing": standing, "team": team, "is_focused": True}
    if what == WEIGHT:
        return render(request, "resources/weight_cell.html", context)
    return render(request, "resources/quota_cell.html", {**context, "row": standing.of(what)})


def _editor(request: HttpRequest, team: Team, pool: Pool, what: str, form, *, status: int = 200) -> HttpResponse:
    name = _("Weight") if what == WEIGHT else Quota.Resource(what).label
    context = {"pool": pool, "team": team, "what": what, "name": name, "form": form}
    if not request.htmx:
        return render(request, "resources/quota.html", context, status=status)
    response = render(request, "resources/quota_editor.html", context, status=status)
    response["HX-Retarget"] = f"#quota-{team.pk}-{what}"
    response["HX-Reswap"] = "outerHTML"
    return response
