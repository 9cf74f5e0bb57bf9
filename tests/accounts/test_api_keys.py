"""API keys: shown once, kept as a fingerprint, bound to a team and to the role of their person."""

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.http import HttpRequest
from django.test import Client
from django.utils import timezone

from apps.accounts import access
from apps.accounts.models import ApiKey, Membership, User
from apps.accounts.services import create_api_key, find_api_key
from apps.core.errors import Conflict, Forbidden

ME = "/api/v1/me/"


def ask(secret: str):
    return Client().get(ME, headers={"Authorization": f"Bearer {secret}"})


def test_a_new_key_is_shown_once_and_works(owner):
    page = owner.page.post("/keys/", {"name": "notebook"}).content.decode()
    secret = re.search(r'id="secret" value="(lp_[^"]+)"', page).group(1)
    assert ask(secret).json() == {"user": owner.user.username, "team": owner.team.slug, "role": "owner"}
    assert secret not in owner.page.get("/keys/").content.decode()


def test_only_a_fingerprint_of_the_key_is_kept(owner):
    with connection.cursor() as cursor:
        cursor.execute("SELECT string_agg(row_to_json(accounts_apikey)::text, '') FROM accounts_apikey")
        assert owner.secret not in cursor.fetchone()[0]


def test_a_key_needs_a_name(owner):
    page = owner.page.post("/keys/", {"name": "  "})
    assert page.status_code == 422 and "id_name_error" in page.content.decode()


def test_without_a_key_the_answer_says_what_to_send(db, client):
    response = client.get(ME)
    assert response.status_code == 401 and response.headers["WWW-Authenticate"] == "Bearer"
    error = response.json()["error"]
    assert error["code"] == "not_authenticated" and "Authorization: Bearer" in error["message"]


@pytest.mark.parametrize("secret", ["lp_wrong", "", "two words", "ключ".encode().decode("latin-1"), "x" * 5000])
def test_a_wrong_key_is_refused_with_a_sentence(db, secret):
    response = ask(secret)
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "invalid_api_key"
    assert "not valid" in response.json()["error"]["message"]


def test_a_session_does_not_save_a_wrong_key(owner):
    assert owner.page.get(ME, headers={"Authorization": "Bearer lp_wrong"}).status_code == 401


def test_a_revoked_key_stops_at_once(owner):
    key = ApiKey.objects.get(user=owner.user)
    owner.page.post(f"/keys/{key.pk}/revoke/")
    response = ask(owner.secret)
    assert response.status_code == 401 and response.json()["error"]["code"] == "invalid_api_key"


def test_a_key_of_somebody_switched_off_stops_at_once(owner):
    User.objects.filter(pk=owner.user.pk).update(is_active=False)
    assert ask(owner.secret).status_code == 401


def test_a_key_of_somebody_who_is_no_longer_in_the_team_is_refused(member):
    Membership.objects.filter(user=member.user).delete()
    response = ask(member.secret)
    assert response.status_code == 401 and response.json()["error"]["code"] == "invalid_api_key"


def test_a_key_follows_the_role_of_its_person(member):
    Membership.objects.filter(user=member.user).update(role=Membership.Role.VIEWER)
    assert ask(member.secret).json()["role"] == "viewer"


def test_a_key_works_in_its_own_team_alone(owner, stranger):
    Membership.objects.create(user=stranger.user, team=owner.team, role=Membership.Role.MEMBER)
    assert ask(stranger.secret).json()["team"] == stranger.team.slug


def test_nobody_revokes_a_foreign_key(owner, member, stranger):
    key = ApiKey.objects.get(user=owner.user)
    for person in (member, stranger):
        assert person.page.post(f"/keys/{key.pk}/revoke/").status_code == 404
    assert find_api_key(owner.secret) == key


def test_a_manager_sees_and_revokes_the_keys_of_the_team(owner, member):
    key = ApiKey.objects.get(user=member.user)
    assert key.prefix in owner.page.get("/keys/").content.decode()
    assert ApiKey.objects.get(user=owner.user).prefix not in member.page.get("/keys/").content.decode()
    owner.page.post(f"/keys/{key.pk}/revoke/")
    assert ask(member.secret).status_code == 401


def test_last_use_is_noted_at_most_once_a_minute(owner):
    keys = ApiKey.objects.filter(user=owner.user)
    ask(owner.secret)
    first = keys.get().last_used_at
    ask(owner.secret)
    assert first is not None and keys.get().last_used_at == first
    keys.update(last_used_at=first - timedelta(minutes=2))
    ask(owner.secret)
    assert keys.get().last_used_at > timezone.now() - timedelta(minutes=1)


def test_a_person_has_no_more_than_fifty_keys_in_a_team(owner):
    for number in range(49):
        create_api_key(team=owner.team, user=owner.user, name=f"key {number}")
    with pytest.raises(Conflict, match="50 keys"):
        create_api_key(team=owner.team, user=owner.user, name="one more")


@pytest.mark.parametrize(
    ("who", "may_write", "may_manage"),
    [("owner", True, True), ("member", True, False), ("viewer", False, False), ("administrator", True, True)],
)
def test_what_each_role_may_do(who, may_write, may_manage, request):
    person = request.getfixturevalue(who)
    asked = HttpRequest()
    asked.user, asked.membership = person.user, person.membership
    for rule, is_allowed in (
        (access.require_write, may_write),
        (access.require_manage, may_manage),
        (access.require_administrator, who == "administrator"),
    ):
        if is_allowed:
            rule(asked)
        else:
            with pytest.raises(Forbidden):
                rule(asked)
