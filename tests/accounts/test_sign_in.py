"""Signing in with a name and a password."""

import pytest
from django.test import Client
from django.urls import reverse

from apps.accounts import services
from apps.accounts.models import User
from apps.accounts.services import MAX_ATTEMPTS_PER_NAME

PASSWORD = "a long enough password"
SIGN_IN = "/sign-in/"


@pytest.fixture
def ada(db) -> User:
    return User.objects.create_user("ada", password=PASSWORD)


def attempt(client: Client, name: str = "ada", password: str = PASSWORD, **extra: str):
    return client.post(SIGN_IN, {"username": name, "password": password, **extra})


def is_signed_in(client: Client) -> bool:
    return client.get("/").status_code == 200


def test_the_right_password_opens_the_home_page(ada, client):
    response = attempt(client)
    assert response.status_code == 302 and response.url == reverse("dashboard:home")
    assert is_signed_in(client)


@pytest.mark.parametrize(("name", "password"), [("ada", "wrong"), ("nobody", PASSWORD)])
def test_a_wrong_name_and_a_wrong_password_get_the_same_answer(ada, client, name, password):
    response = attempt(client, name, password)
    assert response.status_code == 422
    assert "Name or password is wrong" in response.content.decode()
    assert not is_signed_in(client)


def test_a_person_who_was_switched_off_cannot_sign_in(ada, client):
    User.objects.update(is_active=False)
    assert attempt(client).status_code == 422
    assert not is_signed_in(client)


def test_too_many_wrong_passwords_lock_the_name_for_this_address(ada, client):
    for _ in range(MAX_ATTEMPTS_PER_NAME):
        assert attempt(client, password="wrong").status_code == 422
    response = attempt(client)
    assert response.status_code == 429
    assert "Too many attempts" in response.content.decode()
    assert not is_signed_in(client)


def test_another_address_is_not_locked_out(ada, client):
    for _ in range(MAX_ATTEMPTS_PER_NAME + 1):
        attempt(client, password="wrong")
    assert attempt(Client(REMOTE_ADDR="10.0.0.9")).status_code == 302


def test_guessing_many_names_locks_the_address(ada, client, monkeypatch):
    monkeypatch.setattr(services, "MAX_ATTEMPTS_PER_ADDRESS", 4)
    for number in range(4):
        assert attempt(client, name=f"user{number}", password="wrong").status_code == 422
    assert attempt(client).status_code == 429


def test_signing_in_forgets_the_wrong_attempts_before(ada, client):
    for _ in range(2):
        for _ in range(MAX_ATTEMPTS_PER_NAME - 1):
            attempt(client, password="wrong")
        assert attempt(client).status_code == 302
        client.post("/sign-out/")


def test_the_page_asked_for_comes_after_signing_in(ada, client):
    asked = client.get("/keys/")
    assert asked.status_code == 302 and asked.url == f"{SIGN_IN}?next=/keys/"
    assert attempt(client, next="/keys/").url == "/keys/"


@pytest.mark.parametrize("elsewhere", ["https://evil.example/", "//evil.example/", "javascript:alert(1)"])
def test_nobody_is_sent_to_another_site_after_signing_in(ada, client, elsewhere):
    assert attempt(client, next=elsewhere).url == "/"


def test_signing_out_ends_the_session_and_needs_a_post(ada, client):
    attempt(client)
    assert client.get("/sign-out/").status_code == 405
    assert is_signed_in(client)
    client.post("/sign-out/")
    assert not is_signed_in(client)


def test_a_part_of_a_page_asked_for_after_the_session_ended_sends_the_whole_page_to_sign_in(db, client):
    response = client.get("/", headers={"HX-Request": "true", "HX-Target": "overview"}, follow=True)
    assert response.headers["HX-Redirect"] == SIGN_IN


def test_the_admin_has_no_form_of_its_own(db, client):
    assert client.get("/admin/", follow=True).redirect_chain[-1][0].startswith(SIGN_IN)


def test_a_password_is_changed_only_with_the_old_one(ada, client):
    attempt(client)
    new = {"new_password1": "quite another one", "new_password2": "quite another one"}
    assert client.post("/password/", {"old_password": "wrong", **new}).status_code == 422
    assert client.post("/password/", {"old_password": PASSWORD, **new}).status_code == 302
    client.post("/sign-out/")
    assert attempt(client, password="quite another one").status_code == 302
