"""Upload texts, train, deploy and predict from a program, against the whole running site."""

import json

import pytest

import leptonai
from tests.texts.making import chinese


@pytest.fixture(scope="module")
def topics(sdk, tmp_path_factory):
    """A deployed model that has learned from Chinese texts."""
    path = tmp_path_factory.mktemp("texts") / "messages.jsonl"
    lines = (json.dumps({"text": text, "label": label}, ensure_ascii=False) for text, label in chinese())
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    version = sdk.datasets.wait(sdk.datasets.create("Messages", path), timeout=60).latest_version
    assert (version.status, version.task, version.target) == ("ready", "text_classification", "label")
    job = sdk.jobs.wait(sdk.jobs.train("Messages", model_name="topics", preset="fast"), timeout=240)
    assert job.result.metrics.test.accuracy >= 0.8
    return sdk.deployments.wait(sdk.deployments.create("topics"), timeout=60)


def test_a_text_gets_its_class_and_several_theirs(sdk, topics):
    model = sdk.load_model("text_classification")
    assert (model.task, model.input.kind, sorted(model.classes)) == (
        "text_classification",
        "text",
        ["好评", "物流", "退款"],
    )
    answer = model.predict("这个沙发我要退货")
    assert set(answer) == {"class", "probability"} and answer["class"] == "退款"
    found = model.predict(["沙发什么时候能送到", "这个沙发真好用"], top_k=3)["predictions"]
    assert [item["class"] for item in found] == ["物流", "好评"]
    assert sum(item.probability for item in found[0].classes) == pytest.approx(1, abs=1e-4)


def test_what_is_no_text_is_refused_here_and_there(sdk, topics):
    model = sdk.load_model("topics")
    with pytest.raises(TypeError, match="give a str, or a list of them"):
        model.predict(3)
    with pytest.raises(leptonai.InvalidRequest) as caught:
        model.predict("  ")
    assert caught.value.code == "empty_text"
