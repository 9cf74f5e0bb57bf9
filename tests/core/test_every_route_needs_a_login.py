"""Deny by default: whoever adds a route that answers without a login has to add it here too."""

import pytest
from django.test import Client

from tests.core.routes import every_route

PUBLIC = {
    "/sign-in/": "the form itself",
    "/sign-in/link/x/": "the token is the login; a wrong one is 404",
    "/sign-out/": "ends a session",
    "/language/": "the sign-in page is read before signing in",
    "/healthz": "for load balancers",
    "/api/schema/": "the schema of the API, the same for everyone",
    "/admin/login/": "leads to the form",
    "/demo/x/x/": "public demos; a private one is 404",
    "/api/v1/nodes/join/": "the token in the body is the login; a wrong one is 404",
}
METHODS = ("get", "post", "put", "patch", "delete")


def test_the_sweep_knows_the_routes():
    addresses = {address for address, _name in every_route()}
    assert len(addresses) > 60
    assert {"/", "/keys/", "/data/", "/jobs/1/", "/api/v1/me/", "/admin/", *PUBLIC} <= addresses


@pytest.mark.parametrize("method", METHODS)
def test_without_a_login_no_route_answers(db, method):
    client, answered = Client(), []
    for address, _name in every_route():
        if address in PUBLIC:
            continue
        response = getattr(client, method)(address)
        is_refused = response.status_code == 401 if address.startswith("/api/") else leads_to_sign_in(response)
        if not is_refused:
            answered.append((address, response.status_code))
    assert not answered


def leads_to_sign_in(response) -> bool:
    return response.status_code == 302 and response.url.startswith(("/sign-in/", "/admin/login/"))


@pytest.mark.parametrize("method", METHODS)
def test_public_routes_change_nothing_and_show_nothing_without_a_login(db, method):
    client = Client()
    for address in PUBLIC:
        response = getattr(client, method)(address)
        assert response.status_code in (200, 302, 404, 405, 415, 422), (address, response.status_code)
        assert "sessionid" not in response.cookies or not response.cookies["sessionid"].value


def test_a_foreign_key_reads_none_of_the_routes(db):
    client = Client(headers={"Authorization": "Bearer lp_of_another_site"})
    for address, _name in every_route():
        if address.startswith("/api/v1/") and address not in PUBLIC:
            response = client.get(address)
            assert response.status_code == 401, address
            assert response.json()["error"]["code"] == "invalid_api_key"


def test_a_stranger_finds_no_object_of_another_team(owner, stranger):
    """No team has anything yet: every route that names an object answers 404, or that it takes another method."""
    for address, _name in every_route():
        is_object = "/1/" in address or "/00000000-" in address or "/x/" in address
        if address in PUBLIC or address.startswith("/admin/") or not is_object:
            continue
        for client in (stranger.page, stranger.api if address.startswith("/api/") else stranger.page):
            assert client.get(address).status_code in (404, 405), address
