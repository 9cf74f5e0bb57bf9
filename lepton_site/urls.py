"""All addresses: the pages of each app, its REST endpoints under /api/v1/, and the operators' admin."""

from django.contrib import admin
from django.contrib.auth.decorators import login_not_required
from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView

from apps.accounts.api import api_urlpatterns as accounts_api
from apps.datasets.api import api_urlpatterns as datasets_api
from apps.deployments.api import api_urlpatterns as deployments_api
from apps.deployments.measuring_api import api_urlpatterns as measuring_api
from apps.deployments.replicas_api import api_urlpatterns as replicas_api
from apps.deployments.rollouts_api import api_urlpatterns as rollouts_api
from apps.deployments.scaling_api import api_urlpatterns as scaling_api
from apps.jobs.again_api import api_urlpatterns as jobs_again_api
from apps.jobs.api import api_urlpatterns as jobs_api
from apps.recipes.api import api_urlpatterns as recipes_api
from apps.registry.api import api_urlpatterns as registry_api
from apps.resources.api import api_urlpatterns as resources_api

# One way in: the admin's own form would know neither links nor the limit on attempts.
admin_sign_in = login_not_required(RedirectView.as_view(pattern_name="accounts:sign_in", query_string=True))

urlpatterns = [
    path("", include("apps.dashboard.urls")),
    path("", include("apps.accounts.urls")),
    path("", include("apps.core.urls")),
    path("", include("apps.datasets.urls")),
    path("", include("apps.jobs.urls")),
    path("", include("apps.registry.urls")),
    path("", include("apps.deployments.urls")),
    path("", include("apps.recipes.urls")),
    path("", include("apps.resources.urls")),
    path("api/v1/", include(accounts_api)),
    path("api/v1/", include(datasets_api)),
    path("api/v1/", include(jobs_api)),
    path("api/v1/", include(jobs_again_api)),
    path("api/v1/", include(registry_api)),
    path("api/v1/", include(deployments_api)),
    path("api/v1/deployments/<int:pk>/", include(rollouts_api)),
    path("api/v1/deployments/<int:pk>/", include(scaling_api)),
    path("api/v1/deployments/<int:pk>/", include(replicas_api)),
    path("api/v1/deployments/<int:pk>/", include(measuring_api)),
    path("api/v1/", include(resources_api)),
    path("api/v1/", include(recipes_api)),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("admin/login/", admin_sign_in),
    path("admin/", admin.site.urls),
]

handler400 = "apps.core.views.bad_request"
handler403 = "apps.core.views.permission_denied"
handler404 = "apps.core.views.page_not_found"
handler500 = "apps.core.views.server_error"
