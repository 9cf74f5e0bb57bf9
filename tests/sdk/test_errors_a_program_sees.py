"""What goes wrong reaches the program as an exception with the site's stable code and sentence."""

import httpx
import pytest

import leptonai
from tests.site_helpers import digits, make_key, write_zip

REVOKE = """
from apps.accounts.services import find_api_key, revoke_api_key
key = find_api_key("{key}")
revoke_api_key(key=key, actor=key.user)
"""


def test_without_a_key_the_client_says_where_to_get_one(monkeypatch):
    monkeypatch.delenv("LEPTON_API_KEY", raising=False)
    with pytest.raises(leptonai.AuthenticationError, match="API keys page"):
        leptonai.Client()


def test_key_and_address_come_from_the_environment(monkeypatch, live_stack, api_key, dataset):
    monkeypatch.setenv("LEPTON_API_KEY", api_key)
    monkeypatch.setenv("LEPTON_BASE_URL", live_stack.base_url)
    with leptonai.Client() as sdk:
        assert sdk.datasets.get("Three digits").id == dataset.id


def test_a_wrong_key_is_refused_everywhere(live_stack, deployment):
    with leptonai.Client("lp_wrong", live_stack.base_url) as sdk:
        for call in (sdk.datasets.list, sdk.jobs.list, lambda: sdk.load_model("three")):
            with pytest.raises(leptonai.AuthenticationError) as caught:
                call()
            assert (caught.value.status, caught.value.code) == (401, "invalid_api_key")


def test_a_site_that_does_not_answer_is_named():
    sdk = leptonai.Client("lp_any", "http://127.0.0.1:9", timeout=1)
    with pytest.raises(leptonai.ConnectionFailed, match="127.0.0.1:9 does not answer"):
        sdk.datasets.list()


def test_what_does_not_exist_is_not_found(sdk):
    for call in (
        lambda: sdk.datasets.get("none"),
        lambda: sdk.jobs.get(10**6),
        lambda: sdk.load_model("none"),
    ):
        with pytest.raises(leptonai.NotFoundError):
            call()


@pytest.mark.parametrize(
    ("body", "code"),
    [(b"", "empty_body"), (b"not a picture", "undecodable_image"), (b"\x89PNG\r\n\x1a\n cut off", "undecodable_image")],
)
def test_what_is_no_picture_is_refused_with_a_sentence(sdk, deployment, body, code):
    with pytest.raises(leptonai.InvalidRequest) as caught:
        sdk.load_model("three").predict(body)
    assert caught.value.code == code
    assert caught.value.message.endswith(".")


def test_a_hyper_parameter_out_of_range_is_named(sdk, dataset):
    with pytest.raises(leptonai.InvalidRequest) as caught:
        sdk.jobs.train(dataset["id"], hyperparameters={"learning_rate": 50})
    assert (caught.value.status, caught.value.code, caught.value.field) == (422, "out_of_range", "learning_rate")


def test_a_name_that_is_taken_is_a_conflict_and_nothing_is_lost(sdk, dataset, tmp_path):
    archive = write_zip(tmp_path / "again.zip", digits("02", 10))
    with pytest.raises(leptonai.ConflictError) as caught:
        sdk.datasets.create("Three digits", archive)
    assert caught.value.code == "name_taken"
    assert sdk.datasets.get("Three digits").id == dataset.id


def test_bad_files_are_named_and_can_be_left_out(sdk, tmp_path):
    members = {**digits("02", 10), "digits/2/notes.png": b"this is text"}
    dataset = sdk.datasets.create("With a bad file", write_zip(tmp_path / "bad.zip", members))
    with pytest.raises(leptonai.Failed, match="notes.png") as caught:
        sdk.datasets.wait(dataset, timeout=60)
    assert caught.value.code == "needs_review"
    accepted = sdk.datasets.wait(dataset, timeout=60, leave_out_bad=True)
    assert accepted.latest_version.status == "ready"
    assert accepted.latest_version.item_count == 20


def test_data_that_cannot_be_used_says_why_and_what_to_do(sdk, tmp_path):
    dataset = sdk.datasets.create("One class", write_zip(tmp_path / "one.zip", digits("0", 10)))
    with pytest.raises(leptonai.Failed) as caught:
        sdk.datasets.wait(dataset, timeout=60)
    assert caught.value.code == "one_class"


def test_a_revoked_key_stops_working_at_once(live_stack, deployment):
    key = make_key(live_stack)
    with leptonai.Client(key, live_stack.base_url) as sdk:
        model = sdk.load_model("three")
        model.predict(digits("7", 80)["digits/7/0007.png"])
        live_stack.manage("shell", "-v", "0", "-c", REVOKE.format(key=key))
        with pytest.raises(leptonai.AuthenticationError):
            sdk.datasets.list()


def test_a_lost_connection_is_tried_again_where_that_is_safe(live_stack, api_key):
    class Flaky(httpx.HTTPTransport):
        failures = 2

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            if Flaky.failures:
                Flaky.failures -= 1
                raise httpx.ConnectError("reset by test")
            return super().handle_request(request)

    with leptonai.Client(api_key, live_stack.base_url, transport=Flaky()) as sdk:
        assert sdk.datasets.list() is not None
    assert Flaky.failures == 0


def test_an_upload_whose_answers_get_lost_arrives_whole(live_stack, api_key, tmp_path):
    class ForgetsAnswers(httpx.HTTPTransport):
        seen = 0

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            response = super().handle_request(request)
            if request.method == "PUT":
                ForgetsAnswers.seen += 1
                if ForgetsAnswers.seen == 1:
                    response.close()
                    raise httpx.ReadError("answer lost by test")
            return response

    with leptonai.Client(api_key, live_stack.base_url, transport=ForgetsAnswers()) as sdk:
        archive = write_zip(tmp_path / "lost.zip", digits("27", 12))
        dataset = sdk.datasets.wait(sdk.datasets.create("Lost answers", archive), timeout=60)
    assert dataset.latest_version.item_count == 24
    assert ForgetsAnswers.seen == 2


def test_all_public_names_exist():
    assert [name for name in leptonai.__all__ if not hasattr(leptonai, name)] == []
