from django.urls import path

from apps.deployments import demo, views

app_name = "deployments"
urlpatterns = [
    path("deployments/", views.deployment_list, name="list"),
    path("deployments/new/", views.create, name="create"),
    path("deployments/<int:pk>/", views.detail, name="detail"),
    path("deployments/<int:pk>/change/", views.change, name="change"),
    path("deployments/<int:pk>/retry/", views.retry, name="retry"),
    path("deployments/<int:pk>/delete/", views.delete, name="delete"),
    path("deployments/<int:pk>/sample/", views.sample, name="sample"),
    path("demo/<slug:team>/<slug:name>/", demo.page, name="demo"),
]
