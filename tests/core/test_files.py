"""Stored files on their way to a person."""

import hashlib
from pathlib import Path

import pytest
from django.test import RequestFactory

from apps.core.errors import NotFound
from apps.core.files import blob_response
from apps.core.storage import put_file

REQUEST = RequestFactory().get("/")


@pytest.fixture
def stored(tmp_path: Path, settings) -> str:
    settings.LEPTON_STORAGE_URL = f"file://{tmp_path}/storage"
    (tmp_path / "file").write_bytes(b"<script>alert(1)</script>")
    return put_file(tmp_path / "file").sha256


@pytest.mark.parametrize(
    ("filename", "content_type", "inline", "disposition"),
    [
        ("model.onnx", "", False, "attachment"),
        ("page.html", "text/html", True, "attachment"),
        ("drawing.svg", "image/svg+xml", True, "attachment"),
        ("00.png", "image/png", False, "attachment"),
        ("00.png", "image/png", True, "inline"),
    ],
)
def test_only_pictures_are_ever_shown_in_the_browser(stored, filename, content_type, inline, disposition):
    response = blob_response(REQUEST, stored, filename, content_type, inline=inline)
    assert response.headers["Content-Disposition"].startswith(disposition)
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert hashlib.sha256(b"".join(response)).hexdigest() == stored


def test_a_file_that_the_browser_has_is_not_sent_again(stored):
    again = RequestFactory().get("/", headers={"If-None-Match": f'"{stored}"'})
    response = blob_response(again, stored, "00.png", "image/png", inline=True)
    assert response.status_code == 304 and not response.content


def test_a_name_cannot_break_out_of_the_header(stored):
    response = blob_response(REQUEST, stored, 'a"\r\nSet-Cookie: x=1.png', "image/png")
    assert "Set-Cookie" not in response.headers
    assert "\n" not in response.headers["Content-Disposition"]


def test_a_file_that_is_gone_is_named(stored):
    with pytest.raises(NotFound, match="model.onnx is no longer in storage"):
        blob_response(REQUEST, "0" * 64, "model.onnx")
