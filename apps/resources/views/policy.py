"""The policy of a pool, what it would do to the queue now, and which machines belong to which pool."""

from django.contrib import messages
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from apps.accounts.access import require_administrator
from apps.core.errors import DomainError
from apps.resources.forms import PolicyForm, PoolNameForm
from apps.resources.models import Node, Pool
from apps.resources.nodes import default_pool, nodes_in_pool
from apps.resources.policies import WORDS, changed_settings, outlook_of, set_policy
from apps.resources.pools import create_pool, move_node, rename_pool
from apps.resources.snapshots import settings_of
from apps.resources.views.choosing import all_pools, chosen_pool

OUTLOOK = "resources/_policy-outlook.html"


@require_http_methods(["GET", "POST"])
def policy(request: HttpRequest) -> HttpResponse:
    """A POST saves; with `preview` it only shows what would happen."""
    require_administrator(request)
    pool = chosen_pool(request)
    form = PolicyForm(request.POST or None, initial=PolicyForm.values_of(pool))
    if request.method == "POST" and "preview" in request.POST:
        return _preview(request, pool, form)
    if request.method == "POST" and form.is_valid():
        try:
            pool = set_policy(pool=pool, user=request.user, **form.values())
        except DomainError as error:
            form.add_error(error.field if error.field in form.fields else None, error.message)
            return _page(request, pool, form, status=error.status)
        words = {"pool": pool.name, "policy": pool.get_policy_display()}
        messages.success(request, _("The pool %(pool)s is shared by: %(policy)s.") % words)
        return redirect(_address(pool))
    return _page(request, pool, form, status=422 if form.errors else 200)


def _preview(request: HttpRequest, pool: Pool, form: PolicyForm) -> HttpResponse:
    if request.htmx:
        return render(request, OUTLOOK, _outlook(pool, form))
    return _page(request, pool, form)


def _outlook(pool: Pool, form: PolicyForm) -> dict:
    settings = changed_settings(pool, form.values()) if form.is_bound and form.is_valid() else settings_of(pool)
    return {
        "outlook": outlook_of(pool, settings),
        "policy_name": Pool.Policy(settings.policy).label,
        "is_change": settings != settings_of(pool),
        "leaves_auction": pool.policy == Pool.Policy.AUCTION != settings.policy,
        "enters_auction": settings.policy == Pool.Policy.AUCTION != pool.policy,
    }


def _page(request: HttpRequest, pool: Pool, form: PolicyForm, *, status: int = 200, names=None) -> HttpResponse:
    chosen = form["policy"].value()
    counted = Pool.objects.annotate(machines=Count("nodes", filter=Q(nodes__removed_at=None)))
    context = {
        "pool": pool,
        "pools": all_pools(),
        "form": form,
        "cards": [(name, Pool.Policy(name).label, words, name == chosen) for name, words in WORDS.items()],
        "counted": counted.order_by("id"),
        "nodes": nodes_in_pool().select_related("pool").order_by("name"),
        "default": default_pool(),
        "names": names or PoolNameForm(),
        **_outlook(pool, form),
    }
    return render(request, "resources/policy.html", context, status=status)


def _address(pool: Pool) -> str:
    return f"{reverse('resources:policy')}?pool={pool.name}"


@require_POST
def new_pool(request: HttpRequest) -> HttpResponse:
    require_administrator(request)
    names = PoolNameForm(request.POST)
    if names.is_valid():
        try:
            return redirect(_address(create_pool(name=names.cleaned_data["name"], user=request.user)))
        except DomainError as error:
            names.add_error("name", error.message)
    pool = default_pool()
    form = PolicyForm(initial=PolicyForm.values_of(pool))
    return _page(request, pool, form, status=422, names=names)


@require_POST
def rename(request: HttpRequest, pool_id: int) -> HttpResponse:
    require_administrator(request)
    pool = get_object_or_404(Pool, pk=pool_id)
    return redirect(_address(rename_pool(pool=pool, name=request.POST.get("name", ""), user=request.user)))


@require_POST
def move(request: HttpRequest, node_id: int) -> HttpResponse:
    require_administrator(request)
    node = get_object_or_404(Node, pk=node_id)
    pool = chosen_pool(request)
    move_node(node=node, pool=pool, user=request.user)
    words = {"node": node.name, "pool": pool.name}
    messages.success(request, _("%(node)s belongs to the pool %(pool)s now.") % words)
    return redirect(_address(pool))
