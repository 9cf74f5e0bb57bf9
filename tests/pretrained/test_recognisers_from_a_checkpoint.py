"""A recogniser of speech on a pretrained encoder: it learns, answers as transformers itself would and alike as a graph,
goes on where it was stopped, and serves without the library it was made with."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from apps.registry.bundles import texts_of
from tests.audio.making import encoded
from tests.pretrained.recognisers import LETTERS, RATE, save_recogniser, spec_from, train_from
from tests.speech.making import say, sentences, write_data
from tests.stack import ROOT
from tests.training.here import read
from tests.training.stopping import StopAfter
from workers.audio import decode
from workers.contract import SPEECH_RECOGNITION, EventWriter, ProgramFailure
from workers.inference.hearing import LOUDEST, Waves
from workers.inference.predictor import load_predictor
from workers.pretrained.families import RECOGNISERS, choose_files
from workers.training.batches import Draws
from workers.training.export import export_graph, largest_difference
from workers.training.loop import prepare_torch
from workers.training.pretrained.ctc import CtcNetwork, Probabilities, hearing_of, start
from workers.training.speech import fit_model
from workers.training.speech_changes import WAVE_AUGMENTATIONS
from workers.training.speech_data import load_data
from workers.training.stopping import Stop, Stopped

pytestmark = pytest.mark.xdist_group("pretrained-speech")  # one training for all

ALPHABET = [" ", "a", "b", "e", "m", "o"]


@pytest.fixture(scope="session")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("spoken"), 100)


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("few"), 30)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_recogniser(tmp_path_factory.mktemp("checkpoints") / "tiny-wav2vec2")


@pytest.fixture(scope="session")
def trained(spoken: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``output/`` of a Wav2Vec2 that learned the tests' speech."""
    return train_from(tmp_path_factory.mktemp("work"), spoken, checkpoint, epochs=16, learning_rate=0.006)


def started(work: Path, data: Path, folder: Path, **settings: object) -> CtcNetwork:
    """The model that a training would begin with."""
    spec = spec_from(work, data, folder, **settings)
    return start(spec, ALPHABET, EventWriter(work / "events.jsonl"))[0].eval()


def test_what_is_said_is_learned_and_the_model_says_what_it_started_from(trained: Path) -> None:
    result, meta = read(trained / "result.json"), read(trained / "model" / "meta.json")
    assert result["metrics"]["test"]["wer"] <= 0.3 and result["metrics"]["test"]["cer"] <= 0.2
    assert result["baseline"]["test"]["wer"] > 0.5
    assert (result["architecture"], meta["start"]["family"], meta["start"]["license"]) == (
        "Wav2Vec2", "wav2vec2", "apache-2.0",
    )  # fmt: skip
    assert (meta["input"]["rate"], meta["input"]["step"], meta["alphabet"]) == (RATE, 160, ALPHABET)


def test_its_version_is_a_checkpoint_itself_that_answers_alike_in_transformers(trained: Path) -> None:
    from transformers import AutoFeatureExtractor, AutoModelForCTC  # noqa: PLC0415

    folder = trained / "model"
    predictor = load_predictor(folder, 1)
    samples = decode(predictor.sample, RATE)
    extractor = AutoFeatureExtractor.from_pretrained(folder, local_files_only=True)
    model = AutoModelForCTC.from_pretrained(folder, local_files_only=True)
    with torch.no_grad():
        theirs = model(**extractor(samples, sampling_rate=RATE, return_tensors="pt")).logits[0].log_softmax(dim=1)
    (ours,) = predictor.listen([predictor.hearing.hear(samples)])
    assert np.abs(np.exp(ours) - theirs.exp().numpy()).max() < 1e-3  # ours were rounded to 16 bits
    assert read(folder / "vocab.json") == {"<pad>": 0, "|": 1, "a": 2, "b": 3, "e": 4, "m": 5, "o": 6}
    names = {path.name: path.stat().st_size for path in folder.iterdir()}
    assert "vocab.json" in choose_files(names, SPEECH_RECOGNITION, most_bytes=10**9)


def test_another_training_goes_on_from_what_it_knows(trained: Path, few: Path, tmp_path: Path) -> None:
    output = train_from(tmp_path, few, trained / "model", fine_tuning="head", learning_rate=1e-6, epochs=1)
    assert read(output / "result.json")["metrics"]["test"]["wer"] <= 0.5
    assert "It writes 6 of 6 characters already" in (tmp_path / "events.jsonl").read_text()


def test_what_a_checkpoint_writes_already_is_kept_whatever_the_case_of_its_letters(few: Path, tmp_path: Path) -> None:
    folder = save_recogniser(tmp_path / "writes", writes=True)
    head = load_file(folder / "model.safetensors")
    model = started(tmp_path / "work", few, folder)
    assert torch.equal(model.head.weight[0], head["lm_head.weight"][LETTERS["<pad>"]])
    for place, letter in enumerate(ALPHABET, 1):
        row = LETTERS["|" if letter == " " else letter.upper()]
        assert torch.equal(model.head.weight[place], head["lm_head.weight"][row])
        assert model.head.bias[place] == head["lm_head.bias"][row]


@pytest.mark.parametrize("family", sorted(set(RECOGNISERS) - {"whisper"}))  # which writes by itself
def test_every_family_that_is_offered_is_loaded_and_exported_and_can_be_adapted(
    family: str, few: Path, tmp_path: Path
) -> None:
    folder = save_recogniser(tmp_path / family, family)
    model = started(tmp_path / "work", few, folder)
    samples = torch.randint(-9000, 9000, (1, 3000), generator=torch.Generator().manual_seed(1)).to(torch.int16)
    axes = {"samples": {0: "batch", 1: "moments"}, "probabilities": {0: "batch", 1: "answers"}}
    export_graph(Probabilities(model), {"samples": samples}, ("probabilities",), axes, tmp_path / "model.onnx")
    longer = torch.cat([samples, samples.flip(1)], dim=1)
    assert largest_difference(Probabilities(model), {"samples": longer}, tmp_path / "model.onnx") < 1e-4
    with torch.no_grad():
        whole = model.whole(longer)
        assert model.answered(torch.tensor([6000])).item() == whole.shape[1]
        assert torch.allclose(model(longer, torch.tensor([6000])), whole, atol=1e-4)
    adapted = started(tmp_path / "lora", few, folder, fine_tuning="lora", lora_rank=2).train()
    adapted(longer, torch.tensor([6000])).sum().backward()
    learning = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
    assert len(learning) > 6 and all(parameter.grad is not None for parameter in learning)


def test_samples_are_scaled_as_the_checkpoint_has_seen_them(few: Path, tmp_path: Path) -> None:
    from transformers import AutoFeatureExtractor  # noqa: PLC0415

    folder = save_recogniser(tmp_path / "layered", feat_extract_norm="layer", conv_bias=True)
    model = started(tmp_path / "work", few, folder)
    torch.nn.init.normal_(model.body.feature_extractor.conv_layers[0].conv.bias)
    samples = np.rint(say("ma bo", 1) * 9000).astype(np.int16)
    theirs = AutoFeatureExtractor.from_pretrained(folder)(samples / LOUDEST, sampling_rate=RATE, return_tensors="pt")
    with torch.no_grad():
        expected = model.head(model.body(theirs.input_values.float()).last_hidden_state)
        assert torch.allclose(model.whole(torch.from_numpy(samples)[None]), expected, atol=1e-4)


def test_a_recording_is_heard_as_among_others_where_a_checkpoint_is_told_where_they_end(
    few: Path, tmp_path: Path
) -> None:
    folder = save_recogniser(tmp_path / "layered", feat_extract_norm="layer", do_stable_layer_norm=True)
    model = started(tmp_path / "work", few, folder)
    assert model.hides
    samples = torch.randint(-9000, 9000, (2, 4000), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        alone = model(samples[:1, :2400], torch.tensor([2400]))
        among = model(samples, torch.tensor([2400, 4000]))
    count = alone.shape[1]
    assert torch.allclose(among[0, :count], alone[0], atol=1e-4)
    assert (among[0, count:, 1:] < -9000).all()


@pytest.mark.parametrize("fine_tuning", ["full", "head", "lora"])
def test_only_what_was_asked_for_learns(fine_tuning: str, few: Path, checkpoint: Path, tmp_path: Path) -> None:
    model = started(tmp_path, few, checkpoint, fine_tuning=fine_tuning)
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {"head.weight", "head.bias"} <= learning
    assert not [name for name in learning if "feature_extractor" in name]  # as Baevski et al. fine-tuned
    body = {name for name in learning if not name.startswith("head.")}
    if fine_tuning == "head":
        assert not body
    elif fine_tuning == "lora":
        assert body and all("lora_" in name for name in body)
    else:
        assert any("encoder.layers.0.attention.q_proj" in name for name in body)


def fitted(work: Path, data: Path, folder: Path, stop: Stop, *, resume: bool = False) -> tuple[list, dict]:
    """The history of a short training, and the weights that it ends with."""
    settings = {"fine_tuning": "lora", "epochs": 2, "dropout": 0.1, "augmentation": "light"}
    spec, events = spec_from(work, data, folder, resume=resume, **settings), EventWriter(work / "events.jsonl")
    prepare_torch(1, 0)
    heard = load_data(spec, events, lambda share: None, hearing_of(spec))
    model, _arguments = start(spec, heard.alphabet, events)
    history = fit_model(model, heard, spec, events, stop).history
    return history, {name: value.clone() for name, value in model.state_dict().items()}


def test_a_training_that_was_stopped_ends_as_if_it_had_not_been(few: Path, checkpoint: Path, tmp_path: Path) -> None:
    history, weights = fitted(tmp_path / "whole", few, checkpoint, Stop())
    with pytest.raises(Stopped):
        fitted(tmp_path / "cut", few, checkpoint, StopAfter(3))
    resumed, again = fitted(tmp_path / "cut", few, checkpoint, Stop(), resume=True)
    assert resumed == history and len(history) == 2
    assert all(torch.equal(value, again[name]) for name, value in weights.items())


def test_recordings_that_are_longer_than_any_and_shorter_than_any_are_written_down(trained: Path) -> None:
    predictor = load_predictor(trained / "model", 1)
    said = sentences(8, seed=3)
    long = np.concatenate([say(text, seed=place) for place, text in enumerate(said)])
    answers = predictor.predict([encoded(long), encoded(say("ma", 1)[:50])])
    times = [time for word in answers[0].words for time in (word.start, word.end)]
    assert times == sorted(times) and 0 < times[-1] <= len(long) / RATE + 0.05
    assert len(answers[0].words) > 8 and len(answers) == 2


def test_a_trained_model_is_served_without_transformers_peft_and_torch(trained: Path, tmp_path: Path) -> None:
    meta = read(trained / "model" / "meta.json")
    for name, text in texts_of("Speech v1", SPEECH_RECOGNITION, meta, {}).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for path in (trained / "model").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    check = "import sys, runpy\nsys.argv = ['predict.py', '--check']\n"
    check += "try: runpy.run_path('predict.py', run_name='__main__')\nexcept SystemExit as end: assert not end.code\n"
    check += "print([name for name in ('torch', 'transformers', 'peft') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip().splitlines()[-1]) == (0, "[]"), done.stderr
    assert not str(tmp_path).startswith(str(ROOT))


@pytest.mark.parametrize("strength", ["light", "strong"])
def test_changes_are_those_of_the_seed_and_leave_silence_behind_a_recording(strength: str) -> None:
    change = WAVE_AUGMENTATIONS[strength]
    sounds = torch.randint(-9000, 9000, (4, 4000), generator=torch.Generator().manual_seed(1)).to(torch.int16)
    lengths = torch.tensor([4000, 3000, 4000, 2000])
    one, longer = change((sounds, lengths), Draws(5, 4))
    other, _lengths = change((sounds, lengths), Draws(5, 4))
    assert torch.equal(one, other) and not torch.equal(one, change((sounds, lengths), Draws(6, 4))[0])
    assert one.shape[1] == longer.max() and ((longer / lengths - 1).abs() < 0.25).all()
    assert all((row[length:] == 0).all() for row, length in zip(one, longer.tolist(), strict=True))
    half, _lengths = change((sounds[2:], lengths[2:]), Draws(5, 4, 2, 4))
    assert torch.allclose(half[0, :1000], one[2, :1000], atol=1.0)


def spoil(folder: Path, target: Path, name: str, content: bytes) -> Path:
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    (target / name).write_bytes(content)
    return target


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.safetensors", b"nothing"),
        ("preprocessor_config.json", b"[]"),
        ("preprocessor_config.json", b'{"sampling_rate": "fast"}'),
        ("preprocessor_config.json", b'{"sampling_rate": 1000000000}'),
    ],
)
def test_a_damaged_checkpoint_is_a_failure_of_the_settings(
    name: str, content: bytes, few: Path, checkpoint: Path, tmp_path: Path
) -> None:
    spec = spec_from(tmp_path / "work", few, spoil(checkpoint, tmp_path / "spoilt", name, content))
    with pytest.raises(ProgramFailure) as caught:
        hearing_of(spec)
        start(spec, ALPHABET, EventWriter(tmp_path / "events.jsonl"))
    assert (caught.value.code, caught.value.field) == ("damaged_checkpoint", "start_from")


def test_layers_that_shorten_what_is_heard_are_refused(few: Path, checkpoint: Path, tmp_path: Path) -> None:
    config = json.loads((checkpoint / "config.json").read_text()) | {"add_adapter": True}
    folder = spoil(checkpoint, tmp_path / "adapter", "config.json", json.dumps(config).encode())
    with pytest.raises(ProgramFailure, match="add_adapter"):
        hearing_of(spec_from(tmp_path / "work", few, folder))
    assert hearing_of(spec_from(tmp_path / "other", few, checkpoint)) == Waves(RATE, 160)
