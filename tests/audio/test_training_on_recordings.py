"""The training program on recordings: a model that learned, answers alike as a graph, and can go on learning."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from tests.audio.making import PITCHES, encoded, make_spec, tone, train_here, write_data
from tests.training.here import read
from workers.audio import BANDS, resample
from workers.contract import EventWriter, ProgramFailure
from workers.inference.predictor import load_predictor
from workers.parallel.processes import Processes
from workers.training.audio_changes import AUDIO_AUGMENTATIONS
from workers.training.audio_data import AudioRow, choose_rate, choose_seconds
from workers.training.batches import Draws
from workers.training.stopping import Stop
from workers.training.subjects import load_classifier, subject_of

CLASSES = sorted(PITCHES)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``output/`` of a finished training."""
    return train_here(tmp_path_factory.mktemp("trained"), data)


def test_pitches_are_learned_and_recordings_of_other_lengths_and_rates_are_told_apart(trained):
    result, meta = read(trained / "result.json"), read(trained / "model" / "meta.json")
    assert result["metrics"]["test"]["accuracy"] >= 0.9
    assert np.array(result["confusion"]["matrix"]).sum() == 12
    assert meta["classes"] == CLASSES and meta["input"]["rate"] == 8_000 and meta["input"]["length"] == 4_000
    predictor = load_predictor(trained / "model", threads=1)
    for label, pitch in PITCHES.items():
        bodies = [encoded(tone(pitch, 7)), encoded(tone(pitch, 8, seconds=2))]
        bodies.append(encoded(resample(tone(pitch, 9), 8_000, 44_100), "FLAC", 44_100))
        said = predictor.predict(bodies).argmax(axis=1)
        assert [CLASSES[place] for place in said] == [label] * 3


def test_the_graph_and_the_weights_answer_alike(trained, data, tmp_path):
    meta = read(trained / "model" / "meta.json")
    subject = subject_of("audio_classification")
    spec = make_spec(tmp_path, data)
    loaded = subject.load_data(
        spec, meta, trained / "model", EventWriter(tmp_path / "events.jsonl"), Stop(), Processes()
    )
    rows = loaded.splits["test"]
    with torch.no_grad():
        model = load_classifier(trained / "model", meta)
        expected = model(*subject.inputs(loaded, rows)).softmax(dim=1).numpy()
    predictor = load_predictor(trained / "model", threads=1)
    bodies = [loaded.source.body(loaded.rows[row]) for row in rows]
    np.testing.assert_allclose(predictor.predict(bodies), expected, atol=1e-4)


def test_the_same_seed_gives_the_same_model(trained, data, tmp_path):
    again = train_here(tmp_path, data)
    assert read(again / "result.json")["metrics"] == read(trained / "result.json")["metrics"]


def test_the_model_leaves_a_sample_and_examples_that_can_be_played(trained):
    folder = trained / "model"
    listed = read(folder / "meta.json")["input"]["examples"]
    assert [item["label"] for item in listed] == CLASSES
    for name in ["sample.wav", *(item["file"] for item in listed)]:
        samples, rate = soundfile.read(folder / name)
        assert (rate, len(samples)) == (8_000, 3_200)
    assert read(folder / "parity.json")["sample"] == "sample.wav"


def test_mistakes_are_left_to_listen_to(data, tmp_path):
    """One epoch is too short to learn in."""
    output = train_here(tmp_path, data, epochs=1, learning_rate=1e-6, ema_decay=0.0)
    mistakes = read(output / "result.json")["mistakes"]
    assert mistakes and all(item["true"] != item["predicted"] for item in mistakes)
    assert all(soundfile.info(output / item["audio"]).frames == 3_200 for item in mistakes)
    assert [item["probability"] for item in mistakes] == sorted((m["probability"] for m in mistakes), reverse=True)


def test_recordings_of_one_class_are_refused(tmp_path):
    folder = write_data(tmp_path / "data")
    lines = [json.loads(line) | {"label": "low"} for line in (folder / "index.jsonl").read_text().splitlines()]
    (folder / "index.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    with pytest.raises(ProgramFailure) as caught:
        train_here(tmp_path / "work", folder)
    assert caught.value.code == "one_class"


def rows(*facts: tuple[float, int]) -> list[AudioRow]:
    return [AudioRow("m", "a", "train", seconds, rate, "s") for seconds, rate in facts]


def test_the_model_listens_as_long_as_nearly_all_recordings_last():
    assert choose_seconds(rows(*[(0.42, 8000)] * 97, *[(9.0, 8000)] * 2)) == 0.5
    assert choose_seconds(rows(*[(1.23, 8000)] * 10)) == 1.3
    assert choose_seconds(rows(*[(60.0, 8000)] * 10)) == 10.0


def test_where_some_recordings_have_no_high_pitches_the_model_hears_none():
    assert choose_rate(rows(*[(1.0, 44_100)] * 20, (1.0, 8_000))) == 16_000
    assert choose_rate(rows(*[(1.0, 44_100)] * 8, *[(1.0, 11_025)] * 2)) == 8_000


@pytest.mark.parametrize("strength", ["light", "strong"])
def test_changes_keep_the_shape_and_the_range_and_depend_on_the_draw_alone(strength):
    sounds = torch.randint(0, 256, (6, 40, BANDS, 1), dtype=torch.uint8)
    change = AUDIO_AUGMENTATIONS[strength]
    (once,), (again,), (other,) = (change((sounds,), Draws(seed, 6)) for seed in (1, 1, 2))
    assert once.shape == sounds.shape and once.dtype == torch.float32
    assert once.min() >= 0 and once.max() <= 255
    assert torch.equal(once, again) and not torch.equal(once, other)
    (part,) = change((sounds[2:4],), Draws(1, 6, 2, 4))
    assert torch.allclose(part, once[2:4])


def test_a_shift_moves_a_tone_in_time_and_a_pitch_moves_it_across_bands():
    sounds = torch.zeros(64, 100, BANDS, 1, dtype=torch.uint8)
    sounds[:, 48:52, 30:34] = 255
    (changed,) = AUDIO_AUGMENTATIONS["light"]((sounds,), Draws(0, 64))
    times = changed[..., 0].sum(dim=2).argmax(dim=1)
    bands = changed[..., 0].sum(dim=1).argmax(dim=1)
    assert times.min() < 45 and times.max() > 55 and (times - 50).abs().median() <= 12
    assert bands.min() < 31 and bands.max() > 33 and (bands - 32).abs().median() <= 4
