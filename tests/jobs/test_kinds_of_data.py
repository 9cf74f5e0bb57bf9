"""Images are called images and recordings recordings, on each page that shows data, with the same icon."""

import pytest

from apps.datasets.kinds import shown_as
from tests.jobs.making import make_version
from workers.domains import TASKS

SPLITS = {"splits": {"train": 1234, "val": 10, "test": 20}}
WORDS = {
    "image_classification": ("ti-photo", "Images", "images"),
    "tabular_classification": ("ti-table", "Table", "rows"),
    "tabular_regression": ("ti-table", "Table", "rows"),
    "text_classification": ("ti-message-2", "Texts", "texts"),
    "recommendation": ("ti-thumb-up", "Interactions", "rows"),
    "forecasting": ("ti-chart-line", "Series", "rows"),
    "multi_label_images": ("ti-tags", "Images", "images"),
    "answer_retrieval": ("ti-messages", "Questions and answers", "questions"),
    "translation": ("ti-language", "Translations", "pairs"),
    "audio_classification": ("ti-microphone", "Recordings", "recordings"),
    "speech_recognition": ("ti-microphone-2", "Speech", "recordings"),
}


def test_every_task_has_its_words():
    assert set(WORDS) == set(TASKS)


@pytest.mark.parametrize("task", WORDS)
def test_data_are_called_the_same_everywhere(member, team, task):
    icon, title, items = WORDS[task]
    version = make_version(team, "Mine", kind=TASKS[task].data, task=task, item_count=1264, report=SPLITS)
    listed, offered, launched = (
        member.page.get(address).content.decode()
        for address in ("/data/", "/jobs/new/", f"/jobs/new/?dataset_version={version.pk}")
    )
    assert icon in listed and f"</i> {title}</span>" in listed
    assert icon in offered and f"1,264 {items}" in offered
    assert f"1,234 {items}</dd>" in launched


def test_one_is_counted_in_the_singular_and_nothing_known_has_no_words():
    assert shown_as("audio", "audio_classification").counted(1) == "1 recording"
    assert shown_as("table", "").title == "Table" and shown_as("", "") is None
