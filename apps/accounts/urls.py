from django.urls import path

from apps.accounts import views

app_name = "accounts"
urlpatterns = [
    path("sign-in/", views.sign_in, name="sign_in"),
    path("sign-in/link/<str:token>/", views.sign_in_link, name="sign_in_link"),
    path("sign-out/", views.sign_out, name="sign_out"),
    path("language/", views.choose_language, name="language"),
    path("password/", views.password, name="password"),
    path("team/", views.team, name="team"),
    path("team/new/", views.new_team, name="new_team"),
    path("team/switch/", views.switch_team, name="switch_team"),
    path("team/audit/", views.audit, name="audit"),
    path("team/members/<int:membership_id>/role/", views.change_role, name="change_role"),
    path("team/members/<int:membership_id>/remove/", views.remove_member, name="remove_member"),
    path("team/members/<int:membership_id>/link/", views.renew_invitation, name="renew_invitation"),
    path("keys/", views.keys, name="keys"),
    path("keys/<int:key_id>/limit/", views.limit_key, name="limit_key"),
    path("keys/<int:key_id>/revoke/", views.revoke_key, name="revoke_key"),
]
