"""One-time links: for the first administrator, for invited people, and for who is locked out."""

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from apps.accounts.models import SignInLink, User
from apps.accounts.services import create_sign_in_link, ensure_first_administrator, use_sign_in_link
from apps.core.errors import NotFound


@pytest.fixture
def ada(db) -> User:
    user = User(username="ada")
    user.set_unusable_password()
    user.save()
    return user


def token_of(path: str) -> str:
    return path.rstrip("/").rsplit("/", 1)[1]


def test_looking_at_a_link_does_not_use_it(ada, client):
    path = create_sign_in_link(user=ada)
    for _ in range(3):
        page = client.get(path)
        assert page.status_code == 200 and "Sign in as ada" in page.content.decode()
    assert client.post(path).status_code == 302


def test_a_link_works_once(ada, client):
    path = create_sign_in_link(user=ada)
    assert client.post(path).url == "/password/"
    assert client.get("/password/").status_code == 200
    for again in (Client().get(path), Client().post(path)):
        assert again.status_code == 404
        assert "was used already" in again.content.decode() and "link_used" in again.content.decode()


@pytest.mark.django_db(transaction=True)
def test_of_two_uses_at_once_one_wins():
    token = token_of(create_sign_in_link(user=User.objects.create(username="ada")))

    def use() -> bool:
        try:
            use_sign_in_link(token)
        except NotFound:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sorted(threads.map(lambda _: use(), range(8))) == [False] * 7 + [True]


def test_a_link_older_than_a_day_is_refused(ada, client):
    path = create_sign_in_link(user=ada)
    SignInLink.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    for response in (client.get(path), client.post(path)):
        assert response.status_code == 404 and "link_expired" in response.content.decode()
    assert client.get("/").status_code == 302


def test_an_invented_link_is_refused(db, client):
    for response in (client.get("/sign-in/link/abc/"), client.post("/sign-in/link/abc/")):
        assert response.status_code == 404 and "link_unknown" in response.content.decode()


def test_a_newer_link_ends_the_older_one(ada, client):
    older, newer = create_sign_in_link(user=ada), create_sign_in_link(user=ada)
    assert client.post(older).status_code == 404
    assert client.post(newer).status_code == 302


def test_only_a_fingerprint_of_the_link_is_kept(ada):
    token = token_of(create_sign_in_link(user=ada))
    with connection.cursor() as cursor:
        cursor.execute("SELECT row_to_json(accounts_signinlink)::text FROM accounts_signinlink")
        assert token not in cursor.fetchone()[0]


def test_who_was_switched_off_cannot_use_a_link(ada, client):
    path = create_sign_in_link(user=ada)
    User.objects.update(is_active=False)
    assert client.post(path).status_code == 404
    assert client.get("/").status_code == 302


def test_a_forgotten_password_is_replaced_after_coming_by_link(client, db):
    user = User.objects.create_user("ada", password="forgotten long ago")
    assert client.post(create_sign_in_link(user=user)).url == "/"
    new = {"new_password1": "remembered from now", "new_password2": "remembered from now"}
    assert client.post("/password/", new).status_code == 302
    user.refresh_from_db()
    assert user.check_password("remembered from now")


def test_an_empty_site_gets_one_administrator_with_a_team_and_a_link(db, client):
    path = ensure_first_administrator()
    admin = User.objects.get()
    assert admin.username == "admin" and admin.is_superuser and not admin.has_usable_password()
    assert client.post(path).status_code == 302
    home = client.get("/")
    assert home.status_code == 200 and "My team" in home.content.decode()


def test_every_start_gives_a_fresh_link_until_an_administrator_has_signed_in(db, client):
    first, second = ensure_first_administrator(), ensure_first_administrator()
    assert first != second and User.objects.count() == 1
    assert client.post(second).status_code == 302
    assert ensure_first_administrator() is None


def test_the_command_prints_a_link_for_who_is_locked_out(ada, client):
    out = StringIO()
    call_command("sign_in_link", "ada", stdout=out)
    path = re.search(r"http://[^/]+(/\S+)", out.getvalue()).group(1)
    assert client.post(path).status_code == 302


def test_the_command_says_when_there_is_nobody_of_that_name(db):
    with pytest.raises(CommandError, match="'nobody'"):
        call_command("sign_in_link", "nobody")
    with pytest.raises(CommandError, match="no administrator"):
        call_command("sign_in_link")
