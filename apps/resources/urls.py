from django.urls import path

from apps.resources.views import pool

app_name = "resources"
urlpatterns = [path("pool/", pool.pool, name="pool")]
