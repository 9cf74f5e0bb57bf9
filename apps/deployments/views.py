"""The pages of deployments. The public demo stands in demo.py."""

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.accounts.access import require_write
from apps.core.errors import DomainError, NotFound, Unprocessable
from apps.core.files import blob_response
from apps.core.htmx import render_live
from apps.deployments import snippets
from apps.deployments.forms import ChangeForm, DeployForm, LoadTestForm, TryForm
from apps.deployments.load_tests import give_up_lost, start_load_test
from apps.deployments.models import Deployment, Replica
from apps.deployments.placing import with_replicas
from apps.deployments.replication import said_of
from apps.deployments.rollouts import version_before
from apps.deployments.samples import input_kind, sample_input
from apps.deployments.services import (
    change_deployment,
    delete_deployment,
    demo_path,
    deploy_version,
    prediction_path,
    retry_deployment,
    state_of,
)
from apps.deployments.serving import measure, requests_in_flight, served_versions
from apps.registry.figures import TASK_LABELS
from apps.registry.models import ModelVersion
from apps.resources.metering import metered
from workers.domains import AUDIO, IMAGE

SHOWN_REPLICAS = 8
SHOWN_CHANGES = 8
SHOWN_EVENTS = 6
SHOWN_TESTS = 8


def deployments_of(request: HttpRequest) -> QuerySet[Deployment]:
    return with_replicas(Deployment.objects.filter(team=request.team))


@require_GET
def deployment_list(request: HttpRequest) -> HttpResponse:
    rows = [
        {"deployment": item, "state": state_of(item), "task": TASK_LABELS[item.version.model.task]}
        for item in deployments_of(request)
    ]
    return render_live(
        request,
        "deployments/list.html",
        {"rows": rows},
        partials={"deployments": "deployments/_deployments.html"},
        is_live=any(not row["state"].is_settled for row in rows),
    )


@require_http_methods(["GET", "POST"])
def create(request: HttpRequest) -> HttpResponse:
    """The form, and the one-click button of a model's page, which sends the version alone."""
    require_write(request)
    versions = ModelVersion.objects.filter(model__team=request.team).select_related("model").order_by("-id")
    if request.method == "GET":
        form = DeployForm(versions=versions, initial={"version": request.GET.get("version")})
        return render(request, "deployments/create.html", {"form": form, "has_versions": versions.exists()})
    form = DeployForm(request.POST, versions=versions)
    if form.is_valid():
        try:
            deployment = deploy_version(team=request.team, user=request.user, **form.cleaned_data)
            return redirect("deployments:detail", deployment.pk)
        except (DomainError, NotFound) as error:
            form.add_error(error.field if error.field in form.fields else None, error.message)
    status = 422 if form.errors else 200
    return render(request, "deployments/create.html", {"form": form, "has_versions": versions.exists()}, status=status)


@require_GET
def detail(request: HttpRequest, pk: int) -> HttpResponse:
    deployment = get_object_or_404(deployments_of(request), pk=pk)
    if request.htmx.target == "traffic":  # its figures move for as long as somebody looks
        return render(request, "deployments/_traffic.html", traffic_context(deployment))
    if request.htmx.target == "scaling":
        return render(request, "deployments/_scaling.html", scaling_context(deployment))
    if request.htmx.target == "load-tests":
        return render(request, "deployments/_load_tests.html", load_context(deployment))
    context = _detail_context(request, deployment, ChangeForm(deployment=deployment))
    is_moving = any(replica.status in Replica.MOVING for replica in deployment.replicas.all())
    states = [context["state"], *(row["served"].state for row in context["rows"])]
    is_live = bool(deployment.max_replicas) or is_moving or not all(state.is_settled for state in states)
    response = render_live(
        request,
        "deployments/detail.html",
        context,
        partials={"replicas": "deployments/_replicas.html"},
        is_live=is_live,
    )
    if not is_live:
        response["HX-Trigger"] = "replicas-settled"  # so that the card above does not say otherwise for a moment
    return response


def _detail_context(request: HttpRequest, deployment: Deployment, form: ChangeForm) -> dict:
    traffic = traffic_context(deployment)
    wanted_count = sum(row["served"].replicas for row in traffic["rows"])
    return (
        _facts_context(request, deployment)
        | traffic
        | scaling_context(deployment)
        | load_context(deployment)
        | {"form": form, "wanted_count": wanted_count}
    )


def _facts_context(request: HttpRequest, deployment: Deployment) -> dict:
    base_url = request.build_absolute_uri("/").rstrip("/")
    sample_of_model = sample_input(deployment.version)
    call = snippets.call_of(deployment, base_url, sample_of_model)
    replicas = sorted(deployment.replicas.all(), key=lambda item: (item.status not in Replica.LIVE, -item.pk))
    return {
        "deployment": deployment,
        "state": state_of(deployment),
        "changes": deployment.traffic_changes.select_related("made_by")[:SHOWN_CHANGES],
        "task": TASK_LABELS[deployment.version.model.task],
        "replicas": [_with_reason(item) for item in replicas[:SHOWN_REPLICAS]],
        "ready_count": sum(item.status == Replica.Status.READY for item in replicas),
        "endpoint": f"{base_url}{prediction_path(deployment)}",
        "demo_url": f"{base_url}{demo_path(deployment)}",
        "curl": snippets.curl(call),
        "javascript": snippets.javascript(call),
        "python": snippets.python(deployment, base_url, sample_of_model),
        "sample_name": snippets.sample_name(deployment),
        "is_file": input_kind(deployment.version) in (AUDIO, IMAGE),
        "try_form": TryForm(deployment=deployment),
        "load_form": LoadTestForm(),
        "logged_count": deployment.logged_requests.count(),
    }


def traffic_context(deployment: Deployment) -> dict:
    """The versions with their figures."""
    served = served_versions(deployment)
    figures = measure(deployment, [item.version.pk for item in served])
    return {
        "deployment": deployment,
        "rows": [{"served": item, "figures": figures.get(item.version.pk)} for item in served],
        "version_before": version_before(deployment),
    }


def scaling_context(deployment: Deployment) -> dict:
    """How the number of replicas has changed, and the load that it follows."""
    return {
        "deployment": deployment,
        "in_flight": requests_in_flight(deployment) if deployment.max_replicas else None,
        "events": deployment.scaling_events.select_related("made_by")[:SHOWN_EVENTS],
    }


def load_context(deployment: Deployment) -> dict:
    """The load tests, newest first."""
    give_up_lost(deployment)
    tests = list(deployment.load_tests.select_related("created_by")[:SHOWN_TESTS])
    running = next((test for test in tests if test.is_open), None)
    return {"deployment": deployment, "running": running, "past": [test for test in tests if not test.is_open]}


@require_POST
def load_test(request: HttpRequest, pk: int) -> HttpResponse:
    """Start one: `seconds` and `clients`."""
    require_write(request)
    deployment = get_object_or_404(deployments_of(request), pk=pk)
    form = LoadTestForm(request.POST)
    if not form.is_valid():
        told = [f"{form.fields[name].label}: {errors[0]}" for name, errors in form.errors.items()]
        raise Unprocessable(" ".join(told), field=next(iter(form.errors)))
    start_load_test(deployment=deployment, user=request.user, **form.cleaned_data)
    return redirect(f"{reverse('deployments:detail', args=[pk])}#load-tests")


def _with_reason(replica: Replica) -> Replica:
    replica.said = said_of(replica)
    return replica


@require_POST
def change(request: HttpRequest, pk: int) -> HttpResponse:
    require_write(request)
    deployment = get_object_or_404(deployments_of(request), pk=pk)
    form = ChangeForm(request.POST, deployment=deployment)
    if form.is_valid():
        try:
            changed = change_deployment(deployment=deployment, user=request.user, **form.cleaned_data)
        except DomainError as error:
            form.add_error(error.field if error.field in form.fields else None, error.message)
    if form.errors:
        form.show_as_sent()
        context = _detail_context(request, deployment, form) | {"is_live": True}
        return render(request, "deployments/detail.html", context, status=422)
    if changed.is_public != deployment.is_public:
        text = _("The demo is public now.") if changed.is_public else _("The demo is private now.")
        messages.success(request, text)
    return redirect("deployments:detail", pk)


@require_POST
def retry(request: HttpRequest, pk: int) -> HttpResponse:
    require_write(request)
    retry_deployment(deployment=get_object_or_404(deployments_of(request), pk=pk), user=request.user)
    return redirect("deployments:detail", pk)


@require_POST
def delete(request: HttpRequest, pk: int) -> HttpResponse:
    require_write(request)
    deployment = get_object_or_404(deployments_of(request), pk=pk)
    delete_deployment(deployment=deployment, user=request.user)
    messages.success(request, _('The deployment "%(name)s" is deleted.') % {"name": deployment.name})
    return redirect("deployments:list")


@require_GET
def sample(request: HttpRequest, pk: int) -> HttpResponseBase:
    """The sample that the snippets send."""
    deployment = get_object_or_404(deployments_of(request), pk=pk)
    name = snippets.sample_name(deployment)
    artifact = get_object_or_404(deployment.version.artifacts, name=name)
    return metered(request, blob_response(request, artifact.sha256, name))
