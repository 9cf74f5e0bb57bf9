"""Upload recordings, train, deploy and predict from a program, against the whole running site."""

import io

import pytest

import leptonai
from tests.audio.making import PITCHES, encoded, recordings, tone
from tests.preprocessing.uploads import zip_bytes

SETTINGS = {"epochs": 12, "batch_size": 8, "ema_decay": 0.0}


@pytest.fixture(scope="module")
def pitches(sdk, tmp_path_factory):
    """A deployed model that tells tones apart."""
    path = tmp_path_factory.mktemp("tones") / "tones.zip"
    path.write_bytes(zip_bytes(recordings(20)))
    version = sdk.datasets.wait(sdk.datasets.create("Tones", path), timeout=60).latest_version
    assert (version.status, version.kind, version.task) == ("ready", "audio", "audio_classification")
    job = sdk.jobs.train("Tones", model_name="pitches", preset="fast", hyperparameters=SETTINGS)
    assert sdk.jobs.wait(job, timeout=240).result.metrics.test.accuracy >= 0.8
    return sdk.deployments.wait(sdk.deployments.create("pitches"), timeout=60)


def test_a_recording_is_asked_about_by_path_bytes_or_open_file(sdk, pitches, tmp_path):
    model = sdk.load_model("audio_classification")
    assert (model.task, model.input.kind, sorted(model.classes)) == ("audio_classification", "audio", sorted(PITCHES))
    body = encoded(tone(PITCHES["high"], seed=77))
    (tmp_path / "clip.wav").write_bytes(body)
    answer = model.predict(tmp_path / "clip.wav")
    assert set(answer) == {"class", "probability"} and answer["class"] == "high"
    assert model.predict(body) == model.predict(io.BytesIO(body)) == model.predict(str(tmp_path / "clip.wav")) == answer
    assert len(model.predict(body, top_k=3)["classes"]) == 3


def test_what_is_no_recording_is_refused_here_and_there(sdk, pitches):
    model = sdk.load_model("pitches")
    with pytest.raises(TypeError, match="give a path, bytes, or an open file"):
        model.predict({"a": 1})
    with pytest.raises(leptonai.InvalidRequest) as caught:
        model.predict(b"hello")
    assert caught.value.code == "undecodable_audio"
