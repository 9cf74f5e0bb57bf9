from django.urls import path

from apps.resources.views import pool, quotas

app_name = "resources"
urlpatterns = [
    path("pool/", pool.pool, name="pool"),
    path("pool/quotas/", quotas.quotas, name="quotas"),
    path("pool/quotas/<slug:team_slug>/<str:what>/", quotas.quota, name="quota"),
]
