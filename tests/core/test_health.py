"""What a load balancer asks, and the docs page that programs' authors read."""

import pytest
from django.db import DatabaseError

from apps.core import views


def test_a_healthy_site_says_so_without_a_login(db, client):
    response = client.get("/healthz")
    assert response.status_code == 200 and response.json() == {"status": "ok"}


def test_a_site_without_its_database_is_not_healthy(client, monkeypatch, db):
    class Broken:
        def cursor(self):
            raise DatabaseError("gone")

    monkeypatch.setattr(views, "connection", Broken())
    assert client.get("/healthz").status_code == 503


@pytest.mark.parametrize("address", ["/api/v1/datasets/", "/api/v1/jobs/", "/api/v1/models/", "/api/v1/deployments/"])
def test_the_docs_page_lists_the_endpoints_and_this_sites_address(owner, address):
    page = owner.page.get("/docs/", headers={"Host": "localhost:8000"}).content.decode()
    assert address in page
    assert "http://localhost:8000" in page


def test_the_schema_is_open_and_whole(db, client):
    response = client.get("/api/schema/", headers={"Accept": "application/vnd.oai.openapi+json"})
    assert response.status_code == 200 and "/api/v1/me/" in response.content.decode()
