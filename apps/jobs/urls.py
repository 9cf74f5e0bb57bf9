from django.urls import path

from apps.jobs import views

app_name = "jobs"
urlpatterns = [
    path("jobs/", views.job_list, name="list"),
    path("jobs/export.csv", views.export, name="export"),
    path("jobs/new/", views.new, name="new"),
    path("jobs/compress/", views.compress, name="compress"),
    path("jobs/fuse/", views.fuse, name="fuse"),
    path("jobs/<int:pk>/", views.detail, name="detail"),
    path("jobs/<int:pk>/metrics/", views.metrics, name="metrics"),
    path("jobs/<int:pk>/outputs/<path:name>", views.output, name="output"),
    path("jobs/<int:pk>/terms/", views.terms, name="terms"),
    path("jobs/<int:pk>/cancel/", views.cancel, name="cancel"),
]
