from django.urls import path

from apps.core import views

app_name = "core"
urlpatterns = [
    path("healthz", views.healthz, name="healthz"),
    path("docs/", views.docs, name="docs"),
    path("docs/<slug:slug>/", views.manual_page, name="manual"),
]
