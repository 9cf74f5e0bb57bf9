from django.urls import path

from apps.deployments import demo_page_views, request_log_views, rollouts_views, views
from apps.deployments.demos import page

app_name = "deployments"
urlpatterns = [
    path("deployments/", views.deployment_list, name="list"),
    path("deployments/new/", views.create, name="create"),
    path("deployments/<int:pk>/", views.detail, name="detail"),
    path("deployments/<int:pk>/change/", views.change, name="change"),
    path("deployments/<int:pk>/demo-page/", demo_page_views.set_up, name="demo_page"),
    path("deployments/<int:pk>/retry/", views.retry, name="retry"),
    path("deployments/<int:pk>/delete/", views.delete, name="delete"),
    path("deployments/<int:pk>/sample/", views.sample, name="sample"),
    path("deployments/<int:pk>/try/", rollouts_views.try_version, name="try"),
    path("deployments/<int:pk>/stop-trial/", rollouts_views.stop_trial, name="stop_trial"),
    path("deployments/<int:pk>/promote/", rollouts_views.promote, name="promote"),
    path("deployments/<int:pk>/roll-back/", rollouts_views.roll_back, name="roll_back"),
    path("deployments/<int:pk>/load-test/", views.load_test, name="load_test"),
    path("deployments/<int:pk>/requests/", request_log_views.log, name="requests"),
    path("deployments/<int:pk>/requests/rules/", request_log_views.rules, name="request_rules"),
    path("deployments/<int:pk>/requests/clear/", request_log_views.clear, name="clear_requests"),
    path("deployments/<int:pk>/requests/<str:kind>/", request_log_views.download, name="download_requests"),
    path("demo/<slug:team>/<slug:name>/", page.page, name="demo"),
]
