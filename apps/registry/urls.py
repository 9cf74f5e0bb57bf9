from django.urls import path

from apps.registry import views

app_name = "registry"
urlpatterns = [
    path("models/", views.model_list, name="list"),
    path("models/<int:pk>/", views.detail, name="detail"),
    path("models/<int:pk>/versions/<int:number>/", views.version, name="version"),
    path("models/<int:pk>/versions/<int:number>/files/<path:name>", views.file, name="file"),
    path("models/<int:pk>/versions/<int:number>/bundle.zip", views.bundle, name="bundle"),
]
