from django.urls import path

from apps.dashboard import views

app_name = "dashboard"
urlpatterns = [
    path("", views.home, name="home"),
    path("notifications/", views.news_page, name="news"),
    path("notifications/bell/", views.bell, name="bell"),
    path("search/", views.search_page, name="search"),
]
