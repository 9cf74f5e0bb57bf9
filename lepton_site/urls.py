"""All addresses: the pages of each app, its REST endpoints under /api/v1/, and the operators' admin."""

from importlib import import_module
from importlib.util import find_spec

from django.contrib import admin
from django.contrib.auth.decorators import login_not_required
from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView

APPS = ("dashboard", "accounts", "core", "datasets", "jobs", "registry", "deployments", "resources")

# One way in: the admin's own form would know neither links nor the limit on attempts.
admin_sign_in = login_not_required(RedirectView.as_view(pattern_name="accounts:sign_in", query_string=True))

urlpatterns = [
    *(path("", include(f"apps.{app}.urls")) for app in APPS if find_spec(f"apps.{app}.urls")),
    *(
        path("api/v1/", include(import_module(f"apps.{app}.api").api_urlpatterns))
        for app in APPS
        if app != "core" and find_spec(f"apps.{app}.api")
    ),
    path("admin/login/", admin_sign_in),
    path("admin/", admin.site.urls),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
]

handler400 = "apps.core.views.bad_request"
handler403 = "apps.core.views.permission_denied"
handler404 = "apps.core.views.page_not_found"
handler500 = "apps.core.views.server_error"
