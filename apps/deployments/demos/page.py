"""The demo page: one task, one big input, one clear answer. Public when its deployment is; else for the team alone."""

from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_http_methods

from apps.core.errors import DomainError
from apps.deployments.admission import EXPLANATION_WEIGHT, check_address, to_networks
from apps.deployments.demos.asking import is_explanation, is_member
from apps.deployments.demos.catalogue import demo_of
from apps.deployments.demos.limits import check_egress, limit_rate, meter
from apps.deployments.models import Deployment
from apps.deployments.placing import with_replicas
from apps.deployments.services import state_of
from workers.domains import TASKS


@login_not_required
@require_http_methods(["GET", "POST"])
def page(request: HttpRequest, team: str, name: str) -> HttpResponse:
    deployment = find_demo(request, team, name)
    check_address(to_networks(deployment.allowed_networks), request.META.get("REMOTE_ADDR", ""))
    demo = demo_of(deployment)
    context = {
        "deployment": deployment,
        "demo": demo,
        "state": state_of(deployment),
        "may_explain": bool(TASKS[deployment.version.model.task].explainer),
    }
    context |= demo.prepare(request, deployment)
    if request.method == "GET":
        return render(request, "deployments/demo.html", context)
    limit_rate(request, demo.rate, EXPLANATION_WEIGHT if is_explanation(request) else demo.weigh(request))
    try:
        check_egress(deployment)
        context |= demo.predict(request, deployment)
        status = 200
    except DomainError as error:
        context, status = {**context, "error": error}, error.status
    return meter(deployment, _answer(request, context, status))


def _answer(request: HttpRequest, context: dict[str, Any], status: int) -> HttpResponse:
    """The result alone for htmx, a refusal in the same place; the page for everyone else."""
    demo = context["demo"]
    response = render(request, demo.result if request.htmx else "deployments/demo.html", context, status=status)
    response["HX-Retarget"], response["HX-Reswap"] = demo.target, demo.swap
    return response


def find_demo(request: HttpRequest, team: str, name: str) -> Deployment:
    """The deployment, if its demo is public or the person is in its team; for everybody else there is nothing."""
    deployment = get_object_or_404(with_replicas(Deployment.objects.all()), team__slug=team, name=name)
    if not deployment.is_public and not is_member(request, deployment):
        raise Http404
    return deployment
