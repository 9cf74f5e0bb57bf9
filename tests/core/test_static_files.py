"""Style sheets and scripts reach the browser under ASGI, block by block."""

import asyncio
import gzip
import warnings
from pathlib import Path

import pytest
from django.test import AsyncClient, override_settings

STYLE = b"a { color: red }\n" * 20_000


@pytest.fixture
def static_root(tmp_path: Path):
    (tmp_path / "css").mkdir()
    (tmp_path / "css" / "big.css").write_bytes(STYLE)
    (tmp_path / "css" / "big.css.gz").write_bytes(gzip.compress(STYLE))
    with override_settings(STATIC_ROOT=tmp_path):
        yield tmp_path


def fetch(path: str, **headers: str):
    async def answer():
        response = await AsyncClient().get(path, headers=headers)
        body = b"".join([block async for block in response]) if response.streaming else response.content
        return response, body

    return asyncio.run(answer())


def test_a_file_arrives_whole_and_django_warns_of_nothing(static_root):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        response, body = fetch("/static/css/big.css")
    assert response.status_code == 200 and response["Content-Type"].startswith("text/css")
    assert body == STYLE and int(response["Content-Length"]) == len(STYLE)


def test_a_browser_that_reads_gzip_gets_it(static_root):
    response, body = fetch("/static/css/big.css", **{"Accept-Encoding": "gzip"})
    assert response["Content-Encoding"] == "gzip" and gzip.decompress(body) == STYLE


def test_a_part_of_a_file_and_one_that_the_browser_has(static_root):
    response, body = fetch("/static/css/big.css", Range="bytes=2-8")
    assert response.status_code == 206 and body == STYLE[2:9]
    known, _body = fetch("/static/css/big.css")
    again, nothing = fetch("/static/css/big.css", **{"If-Modified-Since": known["Last-Modified"]})
    assert again.status_code == 304 and nothing == b""
