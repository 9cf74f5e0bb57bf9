"""The buttons of a rollout on a deployment's page, and "Try it" on the pages of models and compressions."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from apps.accounts.access import require_write
from apps.core.errors import Unprocessable
from apps.deployments import rollouts
from apps.deployments.forms import TryForm
from apps.deployments.models import Deployment
from apps.registry.models import ModelVersion


def _deployment(request: HttpRequest, pk: int) -> Deployment:
    require_write(request)
    return get_object_or_404(Deployment.objects.filter(team=request.team).select_related("version__model"), pk=pk)


def _version(request: HttpRequest) -> ModelVersion:
    """Another team's is not there."""
    sent = request.POST.get("version", "")
    return get_object_or_404(ModelVersion.objects.filter(model__team=request.team), pk=sent if sent.isdecimal() else 0)


@require_POST
def try_version(request: HttpRequest, pk: int) -> HttpResponse:
    """`version`, `weight` in percent (10) and `replicas` (1)."""
    deployment = _deployment(request, pk)
    form = TryForm({"weight": 10, "replicas": 1} | request.POST.dict(), deployment=deployment)
    if not form.is_valid():
        told = [f"{form.fields[name].label}: {errors[0]}" for name, errors in form.errors.items()]
        raise Unprocessable(" ".join(told), field=next(iter(form.errors)))
    rollouts.try_version(deployment=deployment, user=request.user, **form.cleaned_data)
    words = {"weight": form.cleaned_data["weight"], "n": form.cleaned_data["version"].number}
    messages.success(request, _("Version %(n)d gets %(weight)d %% of the traffic as soon as it is ready.") % words)
    return redirect("deployments:detail", pk)


@require_POST
def stop_trial(request: HttpRequest, pk: int) -> HttpResponse:
    rollouts.stop_trial(deployment=_deployment(request, pk), user=request.user, version=_version(request))
    return redirect("deployments:detail", pk)


@require_POST
def promote(request: HttpRequest, pk: int) -> HttpResponse:
    version = _version(request)
    rollouts.promote(deployment=_deployment(request, pk), user=request.user, version=version)
    messages.success(request, _("Version %(n)d gets all traffic as soon as it is ready.") % {"n": version.number})
    return redirect("deployments:detail", pk)


@require_POST
def roll_back(request: HttpRequest, pk: int) -> HttpResponse:
    row = rollouts.roll_back(deployment=_deployment(request, pk), user=request.user)
    messages.success(request, _("Rolled back: version %(n)d gets all traffic.") % {"n": row.version.number})
    return redirect("deployments:detail", pk)
