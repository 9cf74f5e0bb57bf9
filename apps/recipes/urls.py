from django.urls import path

from apps.recipes import views

app_name = "recipes"
urlpatterns = [
    path("recipes/", views.index, name="list"),
    path("recipes/<slug:slug>/", views.detail, name="detail"),
    path("recipes/<slug:slug>/start/", views.start, name="start"),
    path("recipes/<slug:slug>/data/", views.use_data, name="data"),
]
