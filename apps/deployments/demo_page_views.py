"""The page on which a team sets up the demo page of a deployment."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from apps.accounts.access import require_write
from apps.deployments.demo_page_form import DemoPageForm
from apps.deployments.models import Deployment
from apps.deployments.services import change_deployment, demo_path


@require_http_methods(["GET", "POST"])
def set_up(request: HttpRequest, pk: int) -> HttpResponse:
    require_write(request)
    deployments = Deployment.objects.filter(team=request.team).select_related("version__model", "team")
    deployment = get_object_or_404(deployments, pk=pk)
    form = DemoPageForm(request.POST or None, deployment=deployment, suggested=request.GET)
    if request.method == "POST" and form.is_valid():
        change_deployment(deployment=deployment, user=request.user, **form.wanted())
        messages.success(request, _("The demo page is changed."))
        return redirect("deployments:detail", pk)
    context = {"deployment": deployment, "form": form, "demo_url": demo_path(deployment)}
    return render(request, "deployments/demo_page.html", context, status=422 if form.errors else 200)
