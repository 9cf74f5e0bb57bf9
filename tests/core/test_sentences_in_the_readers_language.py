"""What was kept once is read by each in their own language."""

import pytest
from django.utils.translation import gettext, override
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.core.retelling import for_keeping, retell
from apps.jobs.models import JobEvent
from apps.jobs.pausing import pause_job, resume_job
from apps.jobs.services import cancel_job
from apps.resources.nodes import default_pool
from apps.resources.planning import schedule_pool
from tests.jobs.making import make_node, make_version, run, submit

CHINESE = "zh-hans"
NAMES = st.text(st.characters(categories=["L", "N"], include_characters=" -_%()"), min_size=1, max_size=20)


def in_chinese(sentence: str) -> str:
    with override(CHINESE):
        return retell(sentence)


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        ("Resumed.", "已恢复。"),
        ("On local.", "运行于 local。"),
        ("Train digits", "训练 digits"),
        ("Training, epoch 3 of 10", "训练中，第 3 轮，共 10 轮"),
        ("Left out files that cannot be used", "略去了无法使用的文件"),
        (
            'The column "age" alone tells "left" nearly perfectly (area under the ROC curve 0.98).',
            "仅凭列“age”就几乎能完全判断“left”（area under the ROC curve 0.98）。",
        ),
        ("epochs is 5000; it must lie between 1 and 1000.", "epochs 为 5000，必须在 1 和 1000 之间。"),
    ],
)
def test_a_kept_sentence_is_said_in_the_readers_language_with_its_own_values(kept, said):
    assert in_chinese(kept) == said
    assert retell(kept) == kept


def test_sentences_that_follow_each_other_are_told_one_by_one():
    kept = "Accuracy went from 99.4 % to 98.9 %. The files are 4.1 times smaller. The model is 1.4 times faster."
    assert in_chinese(kept) == "准确率从 99.4 % 变为 98.9 %。文件缩小为原来的 1/4.1。模型速度是原来的 1.4 倍。"


def test_what_the_catalogue_does_not_know_stays_as_it_is_beside_what_it_knows():
    assert in_chinese("Nobody has written this. Resumed.") == "Nobody has written this. 已恢复。"
    assert in_chinese("CUDA error: 3 %(x)s {y}") == "CUDA error: 3 %(x)s {y}"
    very_long = f"Train {'x' * 10_000}"
    assert in_chinese(very_long) == very_long


def test_what_is_said_of_a_column_is_not_taken_for_the_reason_why_it_cannot_be_used():
    """One template ends with whatever is wrong with a column; others say more of it."""
    unknown = 'The column "age" was seen by nobody.'
    assert in_chinese(unknown) == unknown


def test_a_name_is_not_taken_for_a_word():
    """Somebody may call a model “Models”."""
    with override(CHINESE):
        assert gettext("Models") != "Models"
    assert in_chinese("Train Models") == "训练 Models"


@settings(max_examples=40)
@given(name=NAMES)
def test_any_name_comes_back_as_it_was_given(name):
    assert in_chinese(f"Check {name.strip() or 'x'}.v1").endswith(f"{name.strip() or 'x'}.v1")


@settings(max_examples=40)
@given(text=st.text(max_size=80))
def test_no_text_whatever_breaks_it_and_in_english_it_stays(text):
    assert retell(text) == text
    assert isinstance(in_chinese(text), str)


def test_whoever_asks_what_is_kept_is_in_the_language_of_the_site():
    with override(CHINESE), for_keeping():
        assert gettext("Resumed.") == "Resumed."


def test_what_a_chinese_request_writes_down_others_read_in_english(member):
    make_node()
    with override(CHINESE):
        job = submit(member.team, member.user)
        pause_job(job=job, user=member.user)
        resume_job(job=job, user=member.user)
        cancel_job(job=job, user=member.user)
    job.refresh_from_db()
    assert job.name == "Train Digits"
    kept = set(JobEvent.objects.filter(job=job).values_list("message", flat=True))
    assert {"Resumed.", "Cancelled before it started."} <= kept
    page = f"/jobs/{job.pk}/"
    chinese = member.page.get(page, headers={"Accept-Language": "zh-CN"}).content.decode()
    assert "训练 Digits" in chinese and "已恢复。" in chinese and "Resumed." not in chinese
    english = member.page.get(page, headers={"Accept-Language": "en"}).content.decode()
    assert "Train Digits" in english and "Resumed." in english and "已恢复。" not in english


def test_why_a_job_waits_is_said_to_each_reader(member):
    node = make_node(devices=1)
    run(submit(member.team, member.user), node)
    waiting = submit(member.team, member.user, make_version(member.team, "More"))
    schedule_pool(default_pool())
    page = f"/jobs/{waiting.pk}/"
    assert "It asks for 1 device; 0 free at the moment." in member.page.get(page).content.decode()
    chinese = member.page.get(page, headers={"Accept-Language": "zh-CN"}).content.decode()
    assert "It asks for" not in chinese and "1 台设备" in chinese
