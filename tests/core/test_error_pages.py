"""What is wrong is said in a sentence, with the real status and a code that never changes."""

import pytest
from django.http import Http404, HttpRequest
from django.test import Client, RequestFactory
from django.urls import path

from apps.core import views
from apps.core.errors import Conflict, TooManyRequests
from apps.core.middleware import DomainErrorMiddleware
from lepton_site.urls import handler400, handler403, handler404, handler500, urlpatterns  # noqa: F401


def _raise(error: Exception):
    def view(request: HttpRequest):
        raise error

    return view


BROKEN = [
    path("broken/conflict/", _raise(Conflict("There are two of “it”. Delete one.", code="two_of_it"))),
    path("broken/busy/", _raise(TooManyRequests("Too many requests.", retry_after_seconds=7))),
    path("broken/gone/", _raise(Http404())),
    path("broken/bug/", _raise(ZeroDivisionError("secret detail"))),
]
urlpatterns = [*BROKEN, *urlpatterns]
pytestmark = pytest.mark.urls(__name__)

CASES = [
    ("/broken/conflict/", 409, "two_of_it", "There are two of “it”. Delete one."),
    ("/broken/busy/", 429, "too_many_requests", "Too many requests."),
    ("/broken/gone/", 404, "not_found", "There is nothing here"),
    ("/broken/bug/", 500, "server_error", "Something broke on our side."),
]


@pytest.fixture
def page(owner) -> Client:
    owner.page.raise_request_exception = False
    return owner.page


@pytest.mark.parametrize(("address", "status", "code", "sentence"), CASES)
def test_a_browser_gets_a_page(page, address, status, code, sentence):
    response = page.get(address, headers={"Accept": "text/html"})
    text = response.content.decode()
    assert response.status_code == status
    assert code in text and sentence in text and "<h1" in text
    assert "secret detail" not in text


@pytest.mark.parametrize(("address", "status", "code", "sentence"), CASES)
def test_htmx_gets_a_toast_that_leaves_the_page_alone(page, address, status, code, sentence):
    response = page.get(address, headers={"Accept": "text/html, */*", "HX-Request": "true"})
    text = response.content.decode()
    assert response.status_code == status
    assert f'data-code="{code}"' in text and sentence in text and "<html" not in text
    assert (response.headers["HX-Retarget"], response.headers["HX-Reswap"]) == ("#toasts", "beforeend")


@pytest.mark.parametrize(("address", "status", "code", "sentence"), CASES)
def test_a_program_gets_json(page, address, status, code, sentence):
    response = page.get(address, headers={"Accept": "application/json"})
    assert response.status_code == status
    assert response.json()["error"]["code"] == code
    assert response.json()["error"]["message"].startswith(sentence)


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_an_address_that_a_button_posts_to_says_so_when_it_is_opened(page, accept):
    response = page.get("/data/1/versions/1/redo/", headers={"Accept": accept})
    assert (response.status_code, response.headers["Allow"]) == (405, "POST")
    said = response.content.decode()
    assert "This address takes POST alone, and was asked by GET" in said and "method_not_allowed" in said


def test_who_should_wait_is_told_how_long(page):
    assert page.get("/broken/busy/").headers["Retry-After"] == "7"


def test_an_unknown_address_of_the_api_answers_json_whatever_the_program_accepts(owner):
    response = owner.api.get("/api/v1/nothing/", headers={"Accept": "*/*"})
    assert response.status_code == 404 and response.json()["error"]["code"] == "not_found"


def test_a_forged_form_is_refused_with_a_sentence(owner):
    forger = Client(enforce_csrf_checks=True)
    forger.force_login(owner.user)
    response = forger.post("/keys/", {"name": "forged"})
    assert response.status_code == 403 and "csrf_failed" in response.content.decode()
    assert not owner.user.api_keys.filter(name="forged").exists()


def test_a_forged_api_call_with_a_session_is_refused(owner):
    forger = Client(enforce_csrf_checks=True)
    forger.force_login(owner.user)
    response = forger.post("/api/v1/uploads/", {}, content_type="application/json")
    assert response.status_code == 403 and "CSRF" in response.json()["error"]["message"]


def test_a_message_is_never_markup():
    error = Conflict("<script>alert(1)</script>")
    for headers in ({}, {"HTTP_HX_REQUEST": "true"}):
        request = RequestFactory().get("/", **headers)
        text = DomainErrorMiddleware(None).process_exception(request, error).content.decode()
        assert "<script>alert" not in text and "&lt;script&gt;" in text


def test_an_error_page_needs_no_database(django_db_blocker):
    with django_db_blocker.block():
        assert views.server_error(RequestFactory().get("/")).status_code == 500
