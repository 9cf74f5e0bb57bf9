"""Somebody uploads recordings, in folders or with a table: what is found in them, and what is said about it."""

import io
import zipfile

import numpy as np
import pytest
import soundfile

from tests.audio.making import PITCHES, RATE, described, encoded, recordings, tone
from tests.preprocessing.uploads import Prepared, Workplace, csv_text, zip_bytes


@pytest.fixture
def place(tmp_path) -> Workplace:
    return Workplace(tmp_path)


def said(done: Prepared, code: str) -> str:
    return next(item["message"] for item in done.report["findings"] if item["code"] == code)


def test_folders_of_recordings_are_classes(place):
    done = place.prepare({"tones.zip": zip_bytes(recordings())})
    assert (done.report["kind"], done.report["task"]) == ("audio", "audio_classification")
    assert done.classes == dict.fromkeys(PITCHES, 10)
    assert done.report["splits"] == {"train": 24, "val": 3, "test": 3}
    assert done.report["audio"] == {
        "seconds": 12.0, "median_seconds": 0.4, "shortest_seconds": 0.4, "longest_seconds": 0.4,
        "rates": [[RATE, 30]], "speakers": 0,
    }  # fmt: skip
    assert done.warnings == {"small_classes"}


def test_the_same_content_gives_the_same_split_under_other_names(place):
    once = place.prepare({"tones.zip": zip_bytes(recordings())})
    renamed = {f"all/{name.replace('.wav', ' copy.wav')}": body for name, body in reversed(recordings().items())}
    again = place.prepare({"others.zip": zip_bytes(renamed)})
    assert again.report["content_hash"] == once.report["content_hash"]


def test_each_class_can_be_seen_and_listened_to(place):
    done = place.prepare({"tones.zip": zip_bytes(recordings())})
    assert len(done.report["thumbnails"]) == 9
    for item in done.report["thumbnails"]:
        samples, rate = soundfile.read(done.output / item["audio"])
        assert (rate, len(samples)) == (16_000, 6_400)
        assert (done.output / item["file"]).read_bytes().startswith(b"\x89PNG")


def test_a_table_beside_them_gives_labels_and_speakers(place):
    done = place.prepare({"speech.zip": zip_bytes(described(speakers=6))})
    assert done.classes == dict.fromkeys(PITCHES, 24)
    assert done.report["audio"]["speakers"] == 6 and not done.bad
    heard = {}
    for row in done.images:
        heard.setdefault(row["speaker"], set()).add(row["split"])
    assert all(len(splits) == 1 for splits in heard.values())
    assert {split for splits in heard.values() for split in splits} == {"train", "val", "test"}


def test_where_each_class_has_one_speaker_he_is_heard_in_every_part(place):
    rows = [["file_name", "label", "speaker"]]
    rows += [[name, name.split("/")[0], name.split("/")[0]] for name in recordings()]
    done = place.prepare({"who.zip": zip_bytes(recordings() | {"metadata.csv": csv_text(rows).encode()})})
    assert done.report["splits"] == {"train": 24, "val": 3, "test": 3}
    assert "3 of 3" in said(done, "speakers_across_splits")


def test_a_split_of_the_users_in_which_speakers_are_shared_is_kept_and_spoken_of(place):
    uploads = {
        "speech_train.zip": zip_bytes(described(speakers=4, count=6)),
        "speech_test.zip": zip_bytes({name: body for name, body in described(speakers=2).items()}),
    }
    done = place.prepare(uploads)
    assert done.report["split_source"] == "user"
    assert {"speakers_across_splits", "duplicate_across_splits", "val_carved"} <= done.warnings
    assert done.report["splits"]["test"] == 24


def test_the_table_may_lie_beside_the_archive_and_name_its_split(place):
    rows = [["path", "class", "split"]]
    rows += [[name, f"is {name.split('/')[0]}", "test" if name[-5] in "12" else "train"] for name in recordings()]
    done = place.prepare({"tones.zip": zip_bytes(recordings()), "metadata.csv": csv_text(rows)})
    assert done.classes == {f"is {label}": 10 for label in PITCHES}
    assert done.report["splits"]["test"] == 6


def test_what_a_table_gets_wrong_is_named_with_its_line(place):
    files = described(speakers=3)
    table = files["metadata.csv"].decode().splitlines()
    table += ["audio/none.wav,low,anna", f"{table[1].split(',')[0]},low,anna"]
    table[2] = table[2].replace(",low,", ",,")
    extra = {"metadata.csv": "\n".join(table).encode(), "audio/more.wav": encoded(tone(300)), "notes.txt": b"hello"}
    done = place.prepare({"speech.zip": zip_bytes(files | extra)})
    codes = sorted(item["code"] for item in done.report["bad"])
    assert codes == ["described_twice", "missing_file", "missing_label", "no_label", "no_label", "not_audio"]
    missing = next(item for item in done.report["bad"] if item["code"] == "missing_file")
    assert missing["line"] == len(table) - 1 and "audio/none.wav" in missing["reason"]


def test_a_table_without_labels_is_refused_with_what_it_needs(place):
    files = recordings() | {"metadata.csv": b"file,speaker\nlow/1.wav,anna\n"}
    failure = place.refusal({"speech.zip": zip_bytes(files)})
    assert failure.code == "missing_columns" and '"label"' in failure.message and "file, speaker" in failure.message


def test_recordings_without_folders_and_table_are_refused_with_what_to_do(place):
    failure = place.refusal({"tones.zip": zip_bytes({f"{n}.wav": encoded(tone(300, n)) for n in range(9)})})
    assert failure.code == "no_class_folders" and "metadata.csv" in failure.hint


def test_files_that_cannot_be_read_are_named_and_the_rest_is_kept(place):
    broken = {"low/text.wav": b"no sound", "low/empty.wav": b"", "high/cut.flac": b"fLaC" + b"\0" * 40}
    done = place.prepare({"tones.zip": zip_bytes(recordings() | broken)})
    assert done.bad == {
        "tones.zip/low/text.wav": "broken_audio",
        "tones.zip/low/empty.wav": "empty_file",
        "tones.zip/high/cut.flac": "broken_audio",
    }
    assert done.report["items"] == 30


def test_silent_clipped_short_and_long_recordings_are_spoken_of(place):
    odd = {
        "low/silent.wav": encoded(np.zeros(4000, np.float32)),
        "middle/clipped.wav": encoded(np.clip(5 * tone(700), -1, 1)),
        "high/short.wav": encoded(tone(2000, seconds=0.05)),
        "high/long.wav": encoded(tone(2000, seconds=11)),
        "low/fast.wav": encoded(tone(250, rate=44_100), rate=44_100),
    }
    done = place.prepare({"tones.zip": zip_bytes(recordings() | odd)})
    for code, name in [("silent_audio", "silent"), ("clipped_audio", "clipped"), ("short_audio", "short")]:
        assert f"{name}.wav" in said(done, code) and ": 1," in said(done, code)
    assert "long.wav" in said(done, "long_audio")
    assert "44,100 Hz (1)" in said(done, "mixed_rates")


def test_the_same_samples_are_copies_in_whatever_format(place):
    samples = soundfile.read(io.BytesIO(recordings()["low/0.wav"]), dtype="float32")[0]
    done = place.prepare({"tones.zip": zip_bytes(recordings() | {"high/copy.flac": encoded(samples, "FLAC")})})
    assert "duplicates" in done.warnings and "conflicting_labels" in done.warnings


def test_what_was_frozen_can_be_uploaded_again_as_it_is(place):
    once = place.prepare({"speech.zip": zip_bytes(described(speakers=6))})
    with zipfile.ZipFile(once.output / "data.zip") as archive:
        assert archive.read("metadata.csv").startswith(b"file_name,label,speaker,split\n")
    again = place.prepare({"data.zip": (once.output / "data.zip").read_bytes()})
    assert (again.report["splits"], again.classes) == (once.report["splits"], once.classes)
    assert again.report["content_hash"] == once.report["content_hash"]
