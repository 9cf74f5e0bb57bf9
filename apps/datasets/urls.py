from django.urls import path

from apps.datasets import views

app_name = "datasets"
urlpatterns = [
    path("data/", views.list_datasets, name="list"),
    path("data/upload/", views.upload, name="upload"),
    path("data/upload/discard/", views.discard_unfinished, name="discard_unfinished"),
    path("data/upload/<uuid:pk>/discard/", views.discard_upload, name="discard_upload"),
    path("data/<int:pk>/", views.show_dataset, name="detail"),
    path("data/<int:pk>/delete/", views.delete_dataset, name="delete"),
    path("data/<int:pk>/versions/<int:number>/accept/", views.accept_version, name="accept"),
    path("data/<int:pk>/versions/<int:number>/findings/<slug:key>/", views.act_on_finding, name="finding"),
    path("data/<int:pk>/versions/<int:number>/redo/", views.redo, name="redo"),
    path("data/<int:pk>/versions/<int:number>/thumbs/<slug:sha256>/", views.thumbnail, name="thumbnail"),
    path("data/<int:pk>/versions/<int:number>/sounds/<slug:sha256>/", views.sound, name="sound"),
    path("data/<int:pk>/versions/<int:number>/download/<str:name>/", views.download, name="download"),
]
