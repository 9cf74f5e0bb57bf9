"""Somebody uploads recordings with transcripts: they are told from classes, and what would spoil a model is said."""

import zipfile

import pytest

from tests.audio.making import encoded
from tests.preprocessing.uploads import Prepared, Workplace, csv_text, zip_bytes
from tests.speech.making import described, say, sentences

TEXTS = [f"{text} {number % 7 * 'ma '}bo" for number, text in enumerate(sentences(40, seed=5))]


@pytest.fixture
def place(tmp_path) -> Workplace:
    return Workplace(tmp_path)


def said(done: Prepared, code: str) -> str:
    return next(item["message"] for item in done.report["findings"] if item["code"] == code)


def upload(place: Workplace, files: dict[str, bytes]) -> Prepared:
    return place.prepare({"speech.zip": zip_bytes(files)})


@pytest.mark.parametrize("column", ["Sentence", "label"])
def test_a_column_of_sentences_says_what_is_said(place, column):
    texts = [f"{text} number {number}" for number, text in enumerate(sentences(20))]
    done = upload(place, described(texts, column))
    assert (done.report["kind"], done.report["task"]) == ("audio", "speech_recognition")
    assert done.report["tasks"] == ["speech_recognition"] and done.classes == {}
    assert {row["transcript"] for row in done.images} == set(texts)
    assert all(row["label"] == "" for row in done.images)
    assert done.report["speech"]["words"] == sum(len(text.split()) for text in texts)


def test_a_few_words_that_come_again_are_what_is_said_and_classes_as_well(place):
    done = upload(place, described(["ma", "bo", "ea"] * 8))
    assert done.report["tasks"] == ["speech_recognition", "audio_classification"]
    assert {(row["label"], row["transcript"]) for row in done.images} == {(word, word) for word in ("ma", "bo", "ea")}


def test_labels_beside_transcripts_are_classes_and_both_can_be_learned(place):
    files = described(TEXTS)
    rows = [["file_name", "transcript", "label"]]
    rows += [[f"clips/{number}.wav", text, "ab"[number % 2]] for number, text in enumerate(TEXTS)]
    done = upload(place, files | {"metadata.csv": csv_text(rows).encode()})
    assert done.report["tasks"] == ["audio_classification", "speech_recognition"]
    assert done.classes == {"a": 20, "b": 20}
    assert {row["transcript"] for row in done.images} == set(TEXTS)


def test_a_word_for_each_of_many_classes_is_no_sentence(place):
    files = described([f"word{number % 6}" for number in range(36)], "label")
    assert upload(place, files).report["tasks"][0] == "audio_classification"


def test_data_as_ljspeech_comes_has_no_header_and_no_endings(place):
    texts = [f'{text}, he "said' for text in sentences(12)]
    files = {f"LJ/wavs/LJ-{number}.wav": encoded(say(text, number)) for number, text in enumerate(sentences(12))}
    lines = [f"LJ-{number}|{text} 5|{text} five" for number, text in enumerate(texts)]
    done = upload(place, files | {"LJ/metadata.csv": "\n".join([*lines, "LJ-99|lost|lost"]).encode()})
    assert sorted(row["transcript"] for row in done.images) == sorted(f"{text} five" for text in texts)
    assert done.report["bad"][0]["line"] == 13


def test_data_as_common_voice_comes_has_tables_of_parts_and_speakers(place):
    files = {f"cv/clips/{number}.wav": encoded(say(text, number)) for number, text in enumerate(TEXTS)}
    for part, numbers in (("train", range(30)), ("dev", range(30, 35)), ("test", range(35, 40))):
        lines = ["client_id\tpath\tsentence\tup_votes"]
        lines += [f"voice{number}\t{number}.wav\t{TEXTS[number]}\t2" for number in numbers]
        files[f"cv/{part}.tsv"] = "\n".join(lines).encode()
    done = upload(place, files)
    assert done.report["task"] == "speech_recognition" and done.report["audio"]["speakers"] == 40


def test_no_speaker_of_many_stands_in_two_parts(place):
    done = upload(place, described(TEXTS, speakers=10))
    heard: dict[str, set[str]] = {}
    for row in done.images:
        heard.setdefault(row["speaker"], set()).add(row["split"])
    assert all(len(parts) == 1 for parts in heard.values())
    assert min(done.report["splits"].values()) > 0 and "speakers_across_splits" not in done.warnings


def test_no_sentence_stands_in_two_parts_where_sentences_differ(place):
    texts = [f"{text} number {number % 25}" for number, text in enumerate(sentences(25) + sentences(25))]
    done = upload(place, described(texts))
    parts: dict[str, set[str]] = {}
    for row in done.images:
        parts.setdefault(row["transcript"], set()).add(row["split"])
    assert all(len(splits) == 1 for splits in parts.values()) and "transcripts_across_splits" not in done.warnings
    assert upload(place, described(["ma", "bo"] * 15)).warnings >= {"transcripts_across_splits", "little_speech"}


def test_what_would_spoil_a_model_is_said(place):
    texts = [*TEXTS[:30], "ma bo " * 30, "ma 25 bo", "[ma] bo", "ma bö", "ma\u00c3\u00a9 bo", "", " ... "]
    files = described(texts)
    files["clips/30.wav"] = encoded(say("ma"))
    done = upload(place, files)
    assert {
        "long_transcripts", "digits_in_transcripts", "marks_in_transcripts", "rare_characters", "broken_letters",
        "empty_transcripts",
    } <= done.warnings  # fmt: skip
    assert "clips/30.wav with 179 characters" in said(done, "long_transcripts")
    assert '"ma 25 bo"' in said(done, "digits_in_transcripts")
    assert "ö (U+00F6)" in said(done, "rare_characters")
    assert said(done, "empty_transcripts").endswith(": 2.")
    assert [item["code"] for item in done.report["bad"]].count("missing_transcript") == 2


def test_the_same_samples_with_two_transcripts_are_spoken_of(place):
    files = described(TEXTS)
    files["clips/1.wav"] = files["clips/0.wav"]
    done = upload(place, files)
    assert "two transcripts" in said(done, "conflicting_labels")


def test_some_can_be_listened_to_with_what_is_said(place):
    done = upload(place, described(TEXTS))
    assert len(done.report["thumbnails"]) == 12
    assert all(item["transcript"] in TEXTS for item in done.report["thumbnails"])


def test_what_was_frozen_can_be_uploaded_again_as_it_is(place):
    for texts in (TEXTS, ["ma", "bo", "ea"] * 8):
        once = upload(place, described(texts, speakers=3))
        with zipfile.ZipFile(once.output / "data.zip") as archive:
            assert archive.read("metadata.csv").startswith(b"file_name,transcript,speaker,split\n")
        again = place.prepare({"data.zip": (once.output / "data.zip").read_bytes()})
        assert again.report["content_hash"] == once.report["content_hash"]
        assert again.report["tasks"] == once.report["tasks"]
