from django.urls import path

from apps.jobs import compression_views, prediction_views, views

app_name = "jobs"
urlpatterns = [
    path("jobs/", views.job_list, name="list"),
    path("jobs/export.csv", views.export, name="export"),
    path("jobs/new/", views.new, name="new"),
    path("jobs/compress/", compression_views.compress, name="compress"),
    path("jobs/fuse/", views.fuse, name="fuse"),
    path("jobs/predict/", prediction_views.predict, name="predict"),
    path("jobs/<int:pk>/", views.detail, name="detail"),
    path("jobs/<int:pk>/metrics/", views.metrics, name="metrics"),
    path("jobs/<int:pk>/candidates/", compression_views.candidates, name="candidates"),
    path("jobs/<int:pk>/candidates/<int:number>/keep/", compression_views.keep, name="keep"),
    path("jobs/<int:pk>/candidates/<int:number>/bundle.zip", compression_views.bundle, name="candidate_bundle"),
    path("jobs/<int:pk>/candidates/<int:number>/files/<path:name>", compression_views.file, name="candidate_file"),
    path("jobs/<int:pk>/outputs/<path:name>", views.output, name="output"),
    path("jobs/<int:pk>/terms/", views.terms, name="terms"),
    path("jobs/<int:pk>/pause/", views.pause, name="pause"),
    path("jobs/<int:pk>/resume/", views.resume, name="resume"),
    path("jobs/<int:pk>/repeat/", views.repeat, name="repeat"),
    path("jobs/<int:pk>/extend/", views.extend, name="extend"),
    path("jobs/<int:pk>/cancel/", views.cancel, name="cancel"),
]
