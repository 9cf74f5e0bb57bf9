from django.urls import path

from apps.resources.views import pool, prices, usage

app_name = "resources"
urlpatterns = [
    path("pool/", pool.pool, name="pool"),
    path("pool/usage/", usage.usage, name="usage"),
    path("pool/usage.csv", usage.export, name="usage_csv"),
    path("pool/prices/", prices.prices, name="prices"),
]
