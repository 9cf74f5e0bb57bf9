"""What people bring for each task, what they change to have it learned in seconds, and what they ask the model.

The data are made, or come with scikit-learn, and leave no doubt about the answer.
"""

import json
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import numpy as np
from playwright.sync_api import Page, expect

from tests.answers.making import library
from tests.audio.making import encoded, recordings, tone
from tests.browser.visiting import Person
from tests.browsing import HEARD
from tests.forecasting.making import DAILY, stores
from tests.multi_label.making import draw, table_of, zip_of
from tests.preprocessing.uploads import csv_text, zip_bytes
from tests.recommending.making import TAKEN, events
from tests.site_helpers import write_iris
from tests.speech.making import described, say, sentences
from tests.texts.making import chinese
from tests.translation.making import toy
from workers import contract

ANSWER_MS = 20_000
RENEWING = "Extend the period online, twice at most."
SILENT_SECONDS = 4.0  # long enough to be noticed; where the file ends the microphone goes dead
QUIET = re.compile(r"^(0|0\.000\d*|[\d.]+e-\d+)$")  # the browser's filters ring on for a while
SHELVES = ("Garden", "Kitchen", "Camping")
SHELF = 20  # things on each


@dataclass(frozen=True)
class Journey:
    """One task. `bring` makes the file in a folder, `ask` puts questions to the demo page and looks at the answers;
    `kind` is what the page of the data calls it, `settings` what is changed after the preset "fast". `widths` are the
    screens on which every run of the tests goes it, the others are gone by ``make test-journeys`` alone."""

    task: str
    kind: str
    bring: Callable[[Path], Path]
    ask: Callable[[Person, Path], None]
    settings: Mapping[str, str] = field(default_factory=dict)
    widths: tuple[int, ...] = ()


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def answer(page: Page):
    return page.locator(".demo-answer")


def bring_irises(folder: Path) -> Path:
    return write_iris(folder / "iris.csv")


def ask_about_an_iris(person: Person, folder: Path) -> None:
    page = person.page
    setosa = {"sepal_length": "5", "sepal_width": "3.4", "petal_length": "1.4", "petal_width": "0.2"}
    for column, value in setosa.items():
        page.get_by_label(column).fill(value)
    page.get_by_role("button", name="Predict").click()
    expect(answer(page)).to_have_text("setosa", timeout=ANSWER_MS)
    page.get_by_role("button", name="Try a sample").click()
    expect(answer(page)).to_have_text(re.compile("setosa|versicolor|virginica"), timeout=ANSWER_MS)


def bring_flats(folder: Path) -> Path:
    """A price that follows from the area and the district."""
    draw = random.Random(0)
    rows = []
    for _ in range(400):
        area, district, floor = draw.randint(30, 150), draw.choice(("centre", "harbour", "hills")), draw.randint(0, 9)
        per_metre = {"centre": 5, "harbour": 4, "hills": 3}[district]
        rows.append([area, district, floor, round(area * per_metre * draw.uniform(0.97, 1.03), 1)])
    return written(folder / "flats.csv", csv_text([["area", "district", "floor", "price"], *rows]))


def ask_for_a_price(person: Person, folder: Path) -> None:
    page = person.page
    page.get_by_label("area").fill("100")
    page.get_by_label("district").select_option("centre")
    page.get_by_label("floor").fill("4")
    page.get_by_role("button", name="Predict").click()
    expect(answer(page)).to_have_text(re.compile(r"^\s*\d[\d,.]*\s*$"), timeout=ANSWER_MS)
    assert 430 < float(answer(page).inner_text().replace(",", "")) < 570


def bring_messages(folder: Path) -> Path:
    lines = [json.dumps({"text": text, "label": label}, ensure_ascii=False) for text, label in chinese()]
    return written(folder / "messages.jsonl", "\n".join(lines) + "\n")


def ask_in_chinese(person: Person, folder: Path) -> None:
    """It answers while one writes, and goes on with an example."""
    page = person.page
    page.locator("#demo-text").press_sequentially("这个沙发我要退货")
    expect(answer(page)).to_have_text("退款", timeout=ANSWER_MS)
    page.locator(".demo-example").first.click()
    expect(page.locator("#demo-text")).not_to_have_value("这个沙发我要退货")
    expect(answer(page)).to_be_visible()
    person.see("8-demo-answer")
    choose_page(person, "chat", {"Greeting": "您好！", "退款": "请在订单页面申请退款。"})
    expect(page.locator(".chat-line")).to_have_text("您好！")
    say_in_talk(page, "这个沙发我要退货", "请在订单页面申请退款。")


def bring_pairs(folder: Path) -> Path:
    return written(folder / "pairs.csv", csv_text([("english", "toy"), *toy()]))


def ask_for_a_translation(person: Person, folder: Path) -> None:
    """Two panes: a sentence on each line of the left one."""
    page = person.page
    page.locator("#demo-text").press_sequentially("the dog sees water today")
    expect(page.locator(".demo-translation")).to_have_text("zu ka ruf wos okar", timeout=ANSWER_MS)
    page.locator("#demo-text").fill("the dog sees water today\nmy friend likes the tree again")
    page.get_by_role("button", name="Translate").click()
    expect(page.locator(".demo-translation")).to_have_text(
        re.compile(r"^\s*zu ka ruf wos okar\s+yat no bam ka lin ulom\s*$"), timeout=ANSWER_MS
    )


def bring_questions(folder: Path) -> Path:
    rows = [(f'"{question}"', f'"{answer}"') for question, answer in library()]
    return written(folder / "questions.csv", csv_text([("question", "answer"), *rows]))


def ask_a_question(person: Person, folder: Path) -> None:
    page = person.page
    page.locator("#demo-text").fill("how do I extend the loan period")
    page.get_by_role("button", name="Find the answer").click()
    expect(page.locator(".demo-reply, .found-answers li p").first).to_have_text(RENEWING, timeout=ANSWER_MS)
    person.see("8-demo-answer")
    choose_page(person, "chat", {"When it does not know": "Ask at the desk."})
    say_in_talk(page, "how do I extend the loan period", RENEWING)
    say_in_talk(page, "xylophone quartz", "Ask at the desk.")


def choose_page(person: Person, kind: str, texts: Mapping[str, str]) -> None:
    """Of the deployment whose demo is open: from there to another demo page, with these texts."""
    person.follow("Back to the deployment")
    person.follow("Change how it looks")
    person.page.get_by_label("Page", exact=True).select_option(kind)
    for label, text in texts.items():
        person.page.get_by_label(label, exact=True).fill(text)
    person.see("9-page")
    person.press("Save")
    person.follow("Open demo")


def say_in_talk(page: Page, text: str, reply: str) -> None:
    page.locator("#demo-text").fill(text)
    page.locator("#demo-text").press("Enter")
    expect(page.locator(".chat-line.is-answer > p").last).to_have_text(reply, timeout=ANSWER_MS)


def bring_purchases(folder: Path) -> Path:
    """Everybody buys from one shelf, and now and then what all buy."""
    shelves = [*SHELVES, "Bag"]
    named = {f"i{n}": f"{shelves[n // SHELF]} {1 + n % SHELF}" for n in range(len(shelves) * SHELF)}
    rows = [(user, named[item], time) for user, item, time in events(of_a_group=SHELF)]
    return written(folder / "purchases.csv", csv_text([TAKEN, *rows]))


def ask_for_more(person: Person, folder: Path) -> None:
    """To somebody who likes three things of one shelf, and to a customer, with those who are like them."""
    page = person.page
    chips = page.locator(".demo-chip", has_text="Garden")
    for place in range(3):
        chips.nth(place).click()
    page.get_by_role("button", name="Recommend").first.click()
    expect(page.locator(".demo-items li").first).to_contain_text("Garden", timeout=ANSWER_MS)
    assert sum("Garden" in text for text in page.locator(".demo-items li").all_inner_texts()) >= 7
    page.locator("#demo-user").fill("u1")
    page.locator(".demo-user").get_by_role("button", name="Recommend").click()
    expect(page.locator(".demo-owned")).to_contain_text("Kitchen", timeout=ANSWER_MS)
    expect(page.locator(".demo-items li").first).to_contain_text(re.compile("Kitchen|Bag"))
    page.get_by_text("People like this one").click()
    expect(page.locator(".demo-others li").first).to_contain_text("in common")
    person.see("8-demo-answer")
    choose_page(person, "offers", {"Notice": "By what others bought."})
    expect(page.get_by_role("note")).to_contain_text("By what others bought.")
    page.locator("#demo-user").fill("u1")
    page.locator(".demo-user").get_by_role("button", name="Find offers").click()
    expect(page.locator(".demo-items li").first).to_contain_text("have it too", timeout=ANSWER_MS)


def bring_sales(folder: Path) -> Path:
    return written(folder / "sales.csv", csv_text([DAILY, *stores()]))


def ask_what_comes(person: Person, folder: Path) -> None:
    """A week after the last day of the data, at about the level of the shop."""
    page = person.page
    page.locator("#demo-series").fill("north")
    page.get_by_role("button", name="Forecast", exact=True).locator("visible=true").first.click()
    rows = page.locator(".series-table tbody tr")
    expect(rows.first).to_contain_text(str(date(2022, 1, 3) + timedelta(days=400)), timeout=ANSWER_MS)
    expect(page.locator("#result canvas").first).to_be_visible()
    forecast = [float(text) for text in page.locator(".series-table td:nth-child(2)").all_inner_texts()]
    assert len(forecast) >= 7 and all(80 < value < 180 for value in forecast)


def bring_marks(folder: Path) -> Path:
    pictures = draw(300)
    return written(folder / "marks.zip", zip_of(pictures, table_of(pictures)))


def ask_what_is_seen(person: Person, folder: Path) -> None:
    page = person.page
    picture, labels = next(each for each in draw(60, seed=7) if len(each[1]) == 2)
    page.locator("#demo-file").set_input_files(written(folder / "new.png", picture))
    expect(page.locator(".demo-labels .badge")).to_have_count(2, timeout=ANSWER_MS)
    assert sorted(page.locator(".demo-labels .badge").all_inner_texts()) == sorted(labels)


def bring_tones(folder: Path) -> Path:
    return written(folder / "tones.zip", zip_bytes(recordings(20)))


def ask_by_file_and_microphone(person: Person, folder: Path) -> None:
    page = person.page
    for name, pitch in (("high", 2000.0), ("low", 250.0)):
        sound = written(folder / f"{name}.wav", encoded(tone(pitch, seed=900)))
        page.locator("#demo-file").set_input_files(sound)
        expect(answer(page)).to_have_text(name, timeout=ANSWER_MS)
    speak(page, tone(700.0, seed=901, seconds=2.0, rate=16_000), 16_000)
    expect(answer(page)).to_have_text("middle", timeout=ANSWER_MS)


def bring_speech(folder: Path) -> Path:
    return written(folder / "speech.zip", zip_bytes(described(sentences(160))))


def ask_what_was_said(person: Person, folder: Path) -> None:
    page = person.page
    page.locator("#demo-file").set_input_files(written(folder / "said.wav", encoded(say("ma bo ea", seed=901))))
    expect(page.locator(".demo-speech")).to_have_text(re.compile(r"^\s*ma bo ea\s*$"), timeout=ANSWER_MS)
    speak(page, say("bo ma", seed=902, rate=16_000), 16_000)
    expect(page.locator(".demo-speech")).to_have_text(re.compile(r"^\s*bo ma\s*$"), timeout=ANSWER_MS)


def speak(page: Page, samples: np.ndarray, rate: int) -> None:
    """Into the microphone: press, wait until it has heard something and then nothing any more, press again."""
    before, after = (np.zeros(round(seconds * rate), np.float32) for seconds in (0.5, SILENT_SECONDS))
    HEARD.write_bytes(encoded(np.concatenate([before, samples, after]), rate=rate))
    level = page.locator("#demo-level")
    page.locator("#demo-mic").click()
    expect(level).not_to_have_attribute("value", QUIET)
    expect(level).to_have_attribute("value", QUIET)
    page.locator("#demo-mic").click()


JOURNEYS = (
    Journey(contract.TABULAR_CLASSIFICATION, "Table", bring_irises, ask_about_an_iris, widths=(1440, 390)),
    Journey(contract.TABULAR_REGRESSION, "Table", bring_flats, ask_for_a_price),
    Journey(contract.TEXT_CLASSIFICATION, "Texts", bring_messages, ask_in_chinese, {"epochs": "20"}, (1440,)),
    Journey(contract.TRANSLATION, "Translations", bring_pairs, ask_for_a_translation,
            {"epochs": "12", "batch_tokens": "256", "learning_rate": "0.004", "dropout": "0", "ema_decay": "0"}),
    Journey(contract.ANSWER_RETRIEVAL, "Questions and answers", bring_questions, ask_a_question),
    Journey(contract.RECOMMENDATION, "Interactions", bring_purchases, ask_for_more, widths=(390,)),
    Journey(contract.FORECASTING, "Series", bring_sales, ask_what_comes),
    Journey(contract.MULTI_LABEL_IMAGES, "Images", bring_marks, ask_what_is_seen,
            {"epochs": "12", "image_size": "16", "batch_size": "16"}),
    Journey(contract.AUDIO_CLASSIFICATION, "Recordings", bring_tones, ask_by_file_and_microphone),
    Journey(contract.SPEECH_RECOGNITION, "Speech", bring_speech, ask_what_was_said,
            {"epochs": "8", "learning_rate": "0.004", "dropout": "0", "ema_decay": "0", "batch_seconds": "6",
             "augmentation": "none"}),
)  # fmt: skip
