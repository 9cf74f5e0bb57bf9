"""The training program on pairs: a model that learned the language, is judged as it serves, and goes on where it was
stopped."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.training.here import read
from tests.training.images import events_of
from tests.translation.making import make_spec, toy, train_here, write_pairs
from workers.contract import EventWriter, ProgramFailure, TrainSpec, read_spec
from workers.domains import NETWORKS, TASKS
from workers.fence import Fenced
from workers.inference.beams import Search, search
from workers.inference.decoding import CachedDecoding
from workers.inference.translations import Asked
from workers.subwords import Subwords
from workers.training.hyperparameters import resolve
from workers.training.pair_data import Pairs, choose_size, learn_pieces, settle_splits
from workers.training.stopping import Stop, Stopped
from workers.training.translation import train
from workers.training.translation_figures import Judge, remembered
from workers.training.translation_models import build_translator
from workers.training.translation_networks import choose_network, share_scripts
from workers.training.writing import torch_step

pytestmark = pytest.mark.xdist_group("translation")  # one training for all

SHORT = {"epochs": 2, "model": "transformer_tiny", "batch_tokens": 512}


def test_the_language_is_learned_without_a_fault(trained):
    result = read(trained / "result.json")
    assert result["metrics"]["test"]["bleu"] == pytest.approx(100, abs=1e-6)
    assert result["metrics"]["test"]["chrf"] == pytest.approx(100, abs=1e-6)
    assert result["metrics"]["val"]["token_accuracy"] == 1.0
    assert result["judged"] == {"split": "test", "pairs": 60, "of": 60}
    assert result["baselines"]["copy"]["bleu"] < 5 < result["baselines"]["memory"]["bleu"] < 90
    assert "tok:13a" in result["signatures"]["bleu"] and "nc:6" in result["signatures"]["chrf"]
    said = dict(toy())
    assert all(item["machine"] == item["reference"] == said[item["source"]] for item in result["samples"])


def test_curves_and_progress_are_told(trained):
    events = events_of(trained.parent)
    curves = {(event["split"], event["name"]) for event in events if event["type"] == "metric"}
    assert curves >= {("train", "loss"), ("val", "loss"), ("val", "bleu"), ("val", "token_accuracy")}
    fractions = [event["fraction"] for event in events if event["type"] == "progress"]
    assert fractions == sorted(fractions)


def test_sentences_that_were_never_seen_are_translated_with_one_beam_or_many(predictor):
    known = {source for number, (source, _) in enumerate(toy()) if number % 10 < 7}
    new = [pair for pair in toy() if pair[0] not in known]
    for beams in (None, 1, 2, 10):
        found = predictor.predict([Asked(source, beams) for source, _target in new[:20]])
        assert [item.text for item in found] == [target for _source, target in new[:20]]
        assert all(0.8 < item.score <= 1 for item in found)


def test_a_sentence_alone_is_translated_as_among_others(predictor):
    texts = ["water", "the dog", *(source for source, _ in toy()[:6]), "my friend sees the boat again and again"]
    together = predictor.predict([Asked(text) for text in texts])
    for text, item in zip(texts, together, strict=True):
        (alone,) = predictor.predict([Asked(text)])
        assert alone.text == item.text
        assert alone.score == pytest.approx(item.score, abs=1e-5)


def test_lines_are_translated_each_by_itself(predictor):
    (one, other) = (pair for pair in toy()[:2])
    (found,) = predictor.predict([Asked(f"{one[0]}\n\n{other[0]}")])
    assert found.text == f"{one[1]}\n\n{other[1]}"


def test_the_weights_alone_translate_as_the_graphs_do(trained, predictor):
    meta = read(trained / "model" / "meta.json")
    model = build_translator(meta["architecture_args"])
    model.load_state_dict(load_file(trained / "model" / "model.safetensors"))
    model.eval()
    pieces = Subwords.load(trained / "model" / meta["pieces"]["source"])
    for source, target in toy()[:5]:
        with torch.no_grad():
            state = [array.numpy() for array in model.memorise(torch.from_numpy(pieces.ids(source)[None]).long())]
        (found,) = search(CachedDecoding(torch_step(model, "cpu"), *state), [20], Search(beams=4))
        assert pieces.text(found.tokens) == target
        (served,) = predictor.predict([Asked(source)])
        assert served.score == pytest.approx(found.score, abs=1e-4)


def test_meta_says_how_to_use_the_model_and_what_it_shows_is_held_out(trained):
    meta = read(trained / "model" / "meta.json")
    assert (meta["task"], meta["target"], meta["input"]["column"]) == ("translation", "toy", "english")
    assert meta["architecture"] == "transformer_tiny"
    held_out = {source for number, (source, _) in enumerate(toy()) if number % 10 > 7}
    assert len(meta["input"]["examples"]) == 6 and set(meta["input"]["examples"]) <= held_out
    assert read(trained / "model" / meta["sample"])["text"] in held_out
    assert meta["metrics"] == read(trained / "result.json")["metrics"]


def files_of(output: Path) -> list[bytes]:
    return [(output / "model" / name).read_bytes() for name in ("model.safetensors", "pieces.json")]


class StopLater(Stop):
    """Asks to stop when the loop has looked so many times: before each step, and before an epoch is judged."""

    def __init__(self, looks: int) -> None:
        self.left = looks

    @property
    def requested(self) -> bool:
        self.left -= 1
        return self.left < 0

    def check(self) -> None:
        """While data are read nobody asks."""


def test_a_training_that_was_stopped_ends_as_if_nothing_had_happened(pairs, tmp_path):
    whole = train_here(tmp_path / "whole", pairs, **SHORT, ema_decay=0.9, dropout=0.1)
    choices = SHORT | {"ema_decay": 0.9, "dropout": 0.1}
    work = tmp_path / "stopped"
    spec = read_spec(TrainSpec, make_spec(work, pairs, **choices))
    with pytest.raises(Stopped):
        train(spec, EventWriter(work / "events.jsonl"), StopLater(5))
    spec = read_spec(TrainSpec, make_spec(work, pairs, resume=True, **choices))
    train(spec, EventWriter(work / "events.jsonl"), Stop())
    results = [read(output / "result.json") for output in (whole, work / "output")]
    assert results[0]["history"] == results[1]["history"]
    assert results[0]["metrics"] == results[1]["metrics"]
    assert files_of(whole) == files_of(work / "output")
    assert any("Going on from step 4 of 6" in event.get("message", "") for event in events_of(work))


def test_a_training_can_go_on_for_more_epochs(pairs, tmp_path):
    assert "translation" in NETWORKS
    work = tmp_path / "work"
    train_here(work, pairs, **SHORT)
    steps = read(work / "output" / "result.json")["steps"]
    spec = json.loads(make_spec(work, pairs, **(SHORT | {"epochs": 3})).read_text()) | {
        "extends_step": steps,
        "resume": True,
    }
    (work / "spec.json").write_text(json.dumps(spec))
    train(read_spec(TrainSpec, work / "spec.json"), EventWriter(work / "events.jsonl"), Stop())
    assert [row["epoch"] for row in read(work / "output" / "result.json")["history"]] == [1, 2, 3]


def test_a_training_whose_lease_is_lost_leaves_without_a_word(pairs, tmp_path, monkeypatch):
    def lost() -> None:
        raise Fenced

    spec = read_spec(TrainSpec, make_spec(tmp_path, pairs, **SHORT))
    monkeypatch.setattr("workers.training.loop.fence.check", lost)
    with pytest.raises(Fenced):
        train(spec, EventWriter(tmp_path / "events.jsonl"), Stop())
    assert not (tmp_path / "output").exists()


def failure_of(work: Path, data: Path, target: str | None = None, **overrides: object) -> ProgramFailure:
    spec = json.loads(make_spec(work, data, **overrides).read_text()) | {"target": target}
    (work / "spec.json").write_text(json.dumps(spec))
    with pytest.raises(ProgramFailure) as caught:
        train(read_spec(TrainSpec, work / "spec.json"), EventWriter(work / "events.jsonl"), Stop())
    return caught.value


def test_held_out_texts_that_are_longer_than_the_model_reads_are_judged_too(tmp_path):
    """Of the row to test and its translation, each is cut into far more than 32 pieces."""
    rows = toy()[:60]
    rows[8] = (" ".join([rows[8][0]] * 12), " ".join([rows[8][1]] * 12))
    result = read(train_here(tmp_path / "work", write_pairs(tmp_path / "data", rows), epochs=1) / "result.json")
    assert result["judged"] == {"split": "test", "pairs": 12, "of": 12}
    assert result["metrics"]["test"]["loss"] > 0 and len(result["samples"]) == 12


def test_columns_that_cannot_be_translated_are_named(pairs, tmp_path):
    failure = failure_of(tmp_path, pairs, source_column="french")
    assert (failure.code, failure.field) == ("unknown_column", "source_column")
    assert "'french'" in failure.message and "english, toy" in failure.hint
    assert failure_of(tmp_path, pairs, source_column="toy").code == "no_pair"
    assert failure_of(tmp_path, pairs, target="french").code == "no_pair"
    assert failure_of(tmp_path, pairs, max_tokens=8, pieces=260).code == "no_training_pairs"


def test_the_other_direction_is_learned_from_the_same_data(pairs, tmp_path):
    spec = json.loads(make_spec(tmp_path, pairs, **(SHORT | {"epochs": 1})).read_text()) | {"target": "english"}
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    train(read_spec(TrainSpec, tmp_path / "spec.json"), EventWriter(tmp_path / "events.jsonl"), Stop())
    meta = read(tmp_path / "output" / "model" / "meta.json")
    assert (meta["input"]["column"], meta["target"]) == ("toy", "english")


# Data


def test_what_is_trained_on_judges_nothing():
    sources = ["a dog", "a cat", "A dog!", "a bird", "a fish", "a cow"]
    splits = settle_splits(np.array(["train", "train", "test", "test", "val", "train"]), sources, seed=0)
    assert splits["test"].tolist() == [3]
    assert splits["val"].tolist() == [4]


def test_without_validation_pairs_some_sources_with_all_their_translations_take_their_place():
    sources = [f"text {number // 2}" for number in range(60)]
    splits = settle_splits(np.array(["train"] * 60), sources, seed=0)
    assert len(splits["val"]) == 6 and len(splits["train"]) == 54
    assert not {sources[row] for row in splits["val"]} & {sources[row] for row in splits["train"]}


def pairs_of(sources: list[str], targets: list[str], train_rows: int) -> Pairs:
    splits = {"train": np.arange(train_rows), "val": np.arange(train_rows, len(sources)), "test": np.arange(0)}
    return Pairs("a", "b", sources, targets, splits)


def test_pieces_are_learned_from_the_training_pairs_alone():
    sources = ["aaab"] * 4 + ["zzzzzzzz"] * 4
    source, target = learn_pieces(pairs_of(sources, sources, 4), {"pieces": 400}, is_shared=False)
    assert len(source.ids("aaab")) == 2 and len(source.ids("zzzzzzzz")) == 10
    assert source is not target
    one, other = learn_pieces(pairs_of(sources, sources, 4), {"pieces": 400}, is_shared=True)
    assert one is other
    assert choose_size(["a b c"] * 10) == 500 < choose_size(["a b c"] * 20_000)


def test_languages_of_one_script_share_their_pieces():
    english = [source for source, _ in toy()]
    assert share_scripts(pairs_of(english, [target for _, target in toy()], 200))
    assert not share_scripts(pairs_of(english, ["你好"] * 300, 200))
    assert share_scripts(pairs_of(["日本語です"] * 9, ["日本語"] * 9, 8))


def test_the_size_fits_the_data():
    assert choose_network("transformer_base", 10, "cpu") == "transformer_base"
    assert [choose_network("auto", tokens, "cpu") for tokens in (1_000, 30_000_000)] == [
        "transformer_tiny",
        "transformer_small",
    ]
    assert choose_network("auto", 30_000_000, "cuda:0") == "transformer_base"


@pytest.mark.parametrize(
    ("text", "tokenizer"),
    [
        ("the dog", "13a"),
        ("собака", "13a"),
        ("狗看水", "zh"),
        ("犬を見る", "char"),
        ("หมา", "char"),
        ("개가 본다", "13a"),
    ],
)
def test_the_score_counts_words_as_the_script_writes_them(text, tokenizer):
    judge = Judge.of([text] * 3)
    assert judge.tokenizer == tokenizer
    assert f"tok:{tokenizer}" in judge.signatures()["bleu"]


def test_scores_are_those_of_sacrebleu():
    judge = Judge("13a")
    figures = judge.figures(["the cat sat on the mat today"], ["the cat sat on the mat yesterday"])
    assert figures["bleu"] == pytest.approx(80.91, abs=0.01)
    assert judge.figures(["a b c d e"], ["a b c d e"]) == {"bleu": pytest.approx(100), "chrf": pytest.approx(100)}


def test_a_translation_memory_answers_with_the_nearest():
    known = remembered(["the dog sees water", "a bird likes the tree"], ["one", "two"], ["the dog finds water"])
    assert known == ["one"]


def test_presets_are_complete_and_serve_with_as_many_beams_as_they_say():
    for preset, beams in (("fast", 1), ("balanced", 4), ("accurate", 4)):
        settings = resolve("translation", preset)
        assert settings["beam_size"] == beams and "batch_size" not in settings and "class_weights" not in settings
    assert not TASKS["translation"].samples and not TASKS["translation"].fusions
