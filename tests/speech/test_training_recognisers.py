"""The training program on recordings with transcripts: a model that learned what is said, is judged as it serves, and
goes on where it was stopped."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from tests.audio.making import encoded
from tests.speech.making import WORDS, make_spec, say, sentences, train_here
from tests.training.here import read
from tests.training.images import events_of
from tests.translation.test_training_translators import StopLater
from workers.audio import decode, spectrogram
from workers.contract import EventWriter, ProgramFailure
from workers.domains import NETWORKS, TASKS
from workers.inference.hearing import Spectra, parts_of
from workers.inference.parity import difference_from_record
from workers.inference.predictor import load_predictor
from workers.spelling import Spelling
from workers.training.batches import Draws
from workers.training.hyperparameters import choose_batch_seconds, resolve
from workers.training.speech import train
from workers.training.speech_changes import SPEECH_AUGMENTATIONS
from workers.training.speech_data import frames_needed, read_transcripts
from workers.training.speech_decoding import choose_decoding, try_decodings
from workers.training.speech_figures import edits, error_rates, word_differences
from workers.training.speech_models import build_network
from workers.training.speech_networks import choose_network
from workers.training.stopping import Stop, Stopped

pytestmark = pytest.mark.xdist_group("speech")  # one training for all

SHORT = {"epochs": 2, "ema_decay": 0.9, "dropout": 0.1, "augmentation": "light"}


def test_what_is_said_is_learned(trained):
    result = read(trained / "result.json")
    figures = result["metrics"]["test"]
    assert figures["wer"] <= 0.05 and figures["cer"] <= 0.05 and figures["all_right"] >= 0.9
    assert result["judged"] == {"split": "test", "recordings": 16, "of": 16}
    assert result["baseline"]["test"]["wer"] > 0.4 and set(result["usual_transcript"].split()) <= set(WORDS)
    assert result["architecture"] == "conformer_tiny" and result["parameters"] > 100_000


def test_the_way_to_search_that_does_best_is_kept(trained):
    result, meta = read(trained / "result.json"), read(trained / "model" / "meta.json")
    ways = {way["name"]: way for way in result["decodings"]}
    assert list(ways) == ["greedy", "beams", "language_model"]
    (kept,) = (way for way in ways.values() if way["is_kept"])
    assert kept["wer"] == min(way["wer"] for way in ways.values())
    assert (meta["decoding"]["beams"] == 1) == (kept["name"] == "greedy")
    assert (trained / "model" / "language.json").exists() == (kept["name"] == "language_model")


def test_curves_and_progress_are_told(trained):
    events = events_of(trained.parent)
    curves = {(event["split"], event["name"]) for event in events if event["type"] == "metric"}
    assert curves >= {("train", "loss"), ("val", "loss"), ("val", "wer"), ("val", "cer")}
    fractions = [event["fraction"] for event in events if event["type"] == "progress"]
    assert fractions == sorted(fractions)


def test_meta_says_how_to_use_the_model_and_what_it_shows_is_held_out(trained):
    meta = read(trained / "model" / "meta.json")
    assert (meta["task"], meta["input"]["kind"], meta["input"]["rate"]) == ("speech_recognition", "audio", 8000)
    assert meta["alphabet"] == [" ", "a", "b", "e", "m", "o"]
    assert meta["spelling"] == {"case": "lower", "punctuation": "remove"}
    held_out = {text for number, text in enumerate(sentences(160)) if number % 10 == 9}
    assert {example["label"] for example in meta["input"]["examples"]} <= held_out
    assert all(
        soundfile.info(trained / "model" / item["file"]).samplerate == 8000 for item in meta["input"]["examples"]
    )
    assert meta["metrics"] == read(trained / "result.json")["metrics"]


def test_a_recording_alone_is_written_down_as_among_others(predictor):
    bodies = [encoded(say(text, seed=900 + place)) for place, text in enumerate(sentences(9, seed=7))]
    together = predictor.predict(bodies)
    for body, among in zip(bodies, together, strict=True):
        (alone,) = predictor.predict([body])
        assert (alone.text, alone.words) == (among.text, among.words)
        assert alone.confidence == pytest.approx(among.confidence, abs=1e-5)


def test_words_are_said_when_the_answer_says(predictor):
    silence = np.zeros(8000, dtype=np.float32)
    (found,) = predictor.predict([encoded(np.concatenate([say("ma", 1), silence, say("bo", 2)]))])
    assert found.text == "ma bo" and 0 < found.confidence <= 1
    first, second = found.words
    assert first.text == "ma" and second.text == "bo"
    assert 0 <= first.start < first.end < 0.6 and 1.2 < second.start < second.end < 1.8


def test_a_recording_that_is_longer_than_any_is_cut_where_it_is_quiet(predictor):
    said = sentences(12, seed=3)
    silence = np.zeros(2000, dtype=np.float32)
    long = np.concatenate([part for place, text in enumerate(said) for part in (say(text, seed=place), silence)])
    sound = spectrogram(long, 8000)
    parts = parts_of(sound, predictor.longest, predictor.hearing)
    assert len(parts) > 3 and max(map(len, parts)) <= predictor.longest
    assert np.array_equal(np.concatenate(parts), sound)
    (found,) = predictor.predict([encoded(long)])
    assert edits(found.text, " ".join(said))[0] <= 4  # of some 24 words
    times = [time for word in found.words for time in (word.start, word.end)]
    assert times == sorted(times) and times[-1] <= len(long) / 8000 + 0.05


def test_silence_has_no_words(predictor):
    (found,) = predictor.predict([encoded(np.zeros(6000, dtype=np.float32))])
    assert (found.text, found.words) == ("", ())


def test_the_weights_alone_say_what_the_graph_says(trained, predictor):
    meta = read(trained / "model" / "meta.json")
    model = build_network(meta["architecture_args"])
    model.load_state_dict(load_file(trained / "model" / "model.safetensors"))
    sounds = [spectrogram(decode(encoded(say(text, 50)), 8000), 8000) for text in ("ma", "bo ea ma")]
    inputs = Spectra(8000).feed(sounds)
    with torch.no_grad():
        logits = model.eval()(torch.from_numpy(inputs["spectrogram"]), torch.from_numpy(inputs["length"]))
    for sound, said, served in zip(sounds, logits.softmax(dim=2).numpy(), predictor.listen(sounds), strict=True):
        np.testing.assert_allclose(np.exp(served), said[: len(served)], atol=1e-4)
        assert len(served) == -(-len(sound) // 2)
    difference, tolerance = difference_from_record(predictor, trained / "model")
    assert difference <= tolerance


def test_a_training_that_was_stopped_ends_as_if_nothing_had_happened(few, tmp_path):
    whole = train_here(tmp_path / "whole", few, **SHORT)
    work = tmp_path / "stopped"
    with pytest.raises(Stopped):
        train(make_spec(work, few, **SHORT), EventWriter(work / "events.jsonl"), StopLater(4))
    train(make_spec(work, few, resume=True, **SHORT), EventWriter(work / "events.jsonl"), Stop())
    results = [read(output / "result.json") for output in (whole, work / "output")]
    assert results[0]["history"] == results[1]["history"]
    assert results[0]["metrics"] == results[1]["metrics"]
    weights = [(output / "model" / "model.safetensors").read_bytes() for output in (whole, work / "output")]
    assert weights[0] == weights[1]
    assert any("Going on from step" in event.get("message", "") for event in events_of(work))


def test_a_training_can_go_on_for_more_epochs(few, tmp_path):
    assert "speech_recognition" in NETWORKS
    steps = read(train_here(tmp_path, few, **(SHORT | {"epochs": 1})) / "result.json")["steps"]
    spec = make_spec(tmp_path, few, resume=True, extends_step=steps, **SHORT)
    train(spec, EventWriter(tmp_path / "events.jsonl"), Stop())
    assert [row["epoch"] for row in read(tmp_path / "output" / "result.json")["history"]] == [1, 2]


def test_labels_are_what_is_said_where_there_are_no_transcripts(few, tmp_path):
    data = relabelled(few, tmp_path / "data", lambda row: row | {"label": row["transcript"], "transcript": None})
    rows, texts = read_transcripts(data / "index.jsonl", Spelling("keep", "keep"), EventWriter(tmp_path / "events"))
    assert texts == [f"{text.capitalize()}." for text in sentences(40)] == [row.label for row in rows]


def relabelled(data: Path, folder: Path, change) -> Path:
    folder.mkdir()
    (folder / "data.zip").symlink_to(data / "data.zip")
    rows = [change(json.loads(line)) for line in (data / "index.jsonl").read_text().splitlines()]
    (folder / "index.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


@pytest.mark.parametrize(
    ("change", "settings", "code"),
    [
        (lambda row: row | {"transcript": "?!"}, {}, "no_transcripts"),
        (lambda row: row | {"transcript": "ma bo " * 100}, {}, "no_training_recordings"),
        (lambda row: row | {"split": "test"}, {}, "no_training_recordings"),
    ],
)
def test_data_that_cannot_be_learned_from_are_refused_in_words(few, tmp_path, change, settings, code):
    data = relabelled(few, tmp_path / "data", change)
    with pytest.raises(ProgramFailure) as caught:
        train(make_spec(tmp_path / "work", data, **settings), EventWriter(tmp_path / "events.jsonl"), Stop())
    assert caught.value.code == code and caught.value.message.endswith(".") and caught.value.hint


# Parts


def test_error_rates_count_what_is_wrong_in_all_recordings_together():
    figures = error_rates(["one two", "", "three"], ["one too", "four five", "three"])
    assert figures == {"wer": 0.6, "cer": round(10 / 21, 6), "all_right": round(1 / 3, 6)}


def test_differences_are_told_word_by_word():
    assert word_differences("the cat sat on mats", "a cat on the mats") == [
        {"kind": "substitute", "true": "a", "said": "the"},
        {"kind": "equal", "true": "cat", "said": "cat"},
        {"kind": "insert", "true": "", "said": "sat"},
        {"kind": "equal", "true": "on", "said": "on"},
        {"kind": "delete", "true": "the", "said": ""},
        {"kind": "equal", "true": "mats", "said": "mats"},
    ]
    assert edits("", "one two") == (2, 7)


def test_a_simpler_way_is_kept_where_none_is_better():
    logs = [np.log(np.array([[0.1, 0.9]]))]
    tried = try_decodings(logs, ["a"], ["a"], None, beams=4, progress=lambda share: None)
    assert [each.name for each in tried] == ["greedy", "beams"]
    assert choose_decoding(tried).name == "greedy"


def test_changes_lose_no_word():
    """Whatever the pace, what was said last is heard before the new end."""
    sounds = torch.zeros(2, 50, 64, dtype=torch.uint8)
    sounds[0, 28:30], sounds[1, 48:50] = 255, 255
    for seed in range(20):
        changed, lengths = SPEECH_AUGMENTATIONS["strong"]((sounds, torch.tensor([30, 50])), Draws(seed, 2))
        assert changed.shape[1] == lengths.max()
        paced = SPEECH_AUGMENTATIONS["strong"].pace
        assert all(abs(np.log(new / old)) < paced + 0.05 for new, old in zip(lengths.tolist(), (30, 50), strict=True))


def test_a_path_has_a_blank_between_characters_that_are_alike():
    assert [frames_needed(text) for text in ("", "ab", "aab", "aaa")] == [0, 2, 4, 5]


def test_the_size_fits_how_much_is_said():
    hours = [choose_network("auto", 3600 * hours, device) for hours, device in ((0.5, "cpu"), (5, "cpu"), (50, "cuda"))]
    assert hours == ["conformer_tiny", "conformer_small", "conformer_base"]
    assert choose_network("conformer_base", 1, "cpu") == "conformer_base"
    assert [choose_batch_seconds(0, seconds) for seconds in (60, 6400, 360_000)] == [8, 100, 240]
    assert choose_batch_seconds(33, 1.0) == 33


def test_presets_are_complete():
    for preset in ("fast", "balanced", "accurate"):
        settings = resolve("speech_recognition", preset)
        assert "batch_size" not in settings and settings["case"] == "lower" and settings["ema_decay"] > 0
    assert not TASKS["speech_recognition"].samples and not TASKS["speech_recognition"].fusions


def test_a_model_whose_files_are_damaged_says_so(trained, tmp_path):
    for path in (trained / "model").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    meta = read(tmp_path / "meta.json")
    (tmp_path / "meta.json").write_text(json.dumps(meta | {"language": "none.json"}))
    with pytest.raises(ProgramFailure) as caught:
        load_predictor(tmp_path, threads=1)
    assert caught.value.code == "damaged_model"
