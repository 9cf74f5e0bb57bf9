"""The machines of the pool: the list, one machine, adding one, and what administrators do with them."""

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.accounts.access import require_administrator
from apps.accounts.models import AuditEvent
from apps.core.errors import DomainError
from apps.core.htmx import render_live
from apps.core.version import code_version
from apps.resources import nodes as verbs
from apps.resources.forms import AddNodeForm
from apps.resources.joining import check_name, create_join_token, is_storage_a_folder, join_command, local_settings
from apps.resources.machines import look_at
from apps.resources.models import Node, UsageRecord

SHOWN_EVENTS = 20
SHOWN_JOBS = 10


def _timing() -> dict:
    return {
        "beat_seconds": round(verbs.BEAT_SECONDS),
        "offline_seconds": int(verbs.OFFLINE_AFTER.total_seconds()),
        "lease_seconds": settings.LEPTON_LEASE_SECONDS,
    }


@require_GET
def nodes(request: HttpRequest) -> HttpResponse:
    """Everybody sees the machines; administrators also those that were removed, to put them back."""
    is_administrator = request.user.is_superuser
    removed = Node.objects.filter(removed_at__isnull=False).order_by("-removed_at") if is_administrator else ()
    context = {
        "machines": look_at(verbs.nodes_in_pool(), team=request.team, sees_all=is_administrator),
        "removed": removed,
        "timing": _timing(),
    }
    return render_live(
        request, "resources/nodes.html", context, partials={"nodes-live": "resources/_nodes.html"}, is_live=True
    )


@require_GET
def node(request: HttpRequest, name: str) -> HttpResponse:
    found = get_object_or_404(Node, name=name)
    if found.removed_at and not request.user.is_superuser:
        raise Http404
    rows = Node.objects.filter(pk=found.pk)
    machine = look_at(rows, team=request.team, sees_all=request.user.is_superuser)[0]
    events = AuditEvent.objects.filter(team=None, action__startswith="node.", target=name).select_related("actor")
    jobs = UsageRecord.objects.filter(team=request.team, node_name=name).order_by("-ended_at")
    context = {
        "machine": machine,
        "events": events[:SHOWN_EVENTS],
        "jobs": jobs.exclude(job_id=None)[:SHOWN_JOBS],
        "timing": _timing(),
    }
    return render_live(
        request, "resources/node.html", context, partials={"node-live": "resources/_node.html"}, is_live=True
    )


@require_POST
def change_node(request: HttpRequest, name: str, verb: str) -> HttpResponse:
    """Cordon, open, drain, remove or restore a machine."""
    require_administrator(request)
    if verb not in CHANGES:
        raise Http404
    found = get_object_or_404(Node, name=name)
    messages.success(request, CHANGES[verb](found, request.user))
    return redirect("resources:nodes") if verb == "remove" else redirect("resources:node", name)


def _cordon(found: Node, user) -> str:
    verbs.cordon_node(node=found, user=user)
    return _("%(node)s takes no new work. What runs there stays.") % {"node": found.name}


def _open(found: Node, user) -> str:
    verbs.uncordon_node(node=found, user=user)
    return _("%(node)s takes work again.") % {"node": found.name}


def _drain(found: Node, user) -> str:
    count = verbs.drain_node(node=found, user=user)
    if not count:
        return _("%(node)s takes no new work. No job has to leave it.") % {"node": found.name}
    return ngettext(
        "%(node)s is being emptied: %(n)d job writes a checkpoint and goes on elsewhere.",
        "%(node)s is being emptied: %(n)d jobs write a checkpoint and go on elsewhere.",
        count,
    ) % {"node": found.name, "n": count}


def _remove(found: Node, user) -> str:
    verbs.remove_node(node=found, user=user)
    return _("%(node)s is no longer part of the pool. Its agent ends by itself.") % {"node": found.name}


def _restore(found: Node, user) -> str:
    verbs.restore_node(node=found, user=user)
    return _("%(node)s may work again. Start its agent if it does not come back by itself.") % {"node": found.name}


CHANGES = {"cordon": _cordon, "open": _open, "drain": _drain, "remove": _remove, "restore": _restore}


@never_cache
@require_http_methods(["GET", "POST"])
def add_node(request: HttpRequest) -> HttpResponse:
    """The form; then the command, shown once, and whether the machine has come."""
    require_administrator(request)
    if request.method == "GET" and (name := request.GET.get("name")):
        return _joining(request, name)
    form, status, command = AddNodeForm(request.POST or None), 200, ""
    if request.method == "POST":
        status = 422
        if form.is_valid():
            try:
                token = create_join_token(user=request.user, **form.cleaned_data)
                command, status = join_command(_address(request), form.cleaned_data["name"], token), 201
            except DomainError as error:
                form.add_error(error.field if error.field in form.fields else None, error.message)
    context = {
        "form": form,
        "command": command,
        "name": form.cleaned_data["name"] if command else "",
        "has_joined": False,
        "local": local_settings(),
        "storage": settings.LEPTON_STORAGE_URL if is_storage_a_folder() else "",
        "version": code_version(),
    }
    return render(request, "resources/add_node.html", context, status=status)


def _joining(request: HttpRequest, name: str) -> HttpResponse:
    """Whether the machine that a command was made for has come."""
    check_name(name)
    has_joined = verbs.online_nodes().filter(name=name).exists()
    context = {"name": name, "has_joined": has_joined}
    return render_live(
        request,
        "resources/joining.html",
        context,
        partials={"joining": "resources/_joining.html"},
        is_live=not has_joined,
    )


def _address(request: HttpRequest) -> str:
    return request.build_absolute_uri("/").rstrip("/")
