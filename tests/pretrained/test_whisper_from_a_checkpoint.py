"""A recogniser on a checkpoint of Whisper: it hears as the checkpoint did, learns, writes as transformers itself would
and alike as graphs, goes on where it was stopped, and serves without the library it was made with."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from django.template.loader import render_to_string

from apps.registry.bundles import texts_of
from tests.audio.making import encoded
from tests.pretrained.recognisers import save_recogniser, spec_from, train_from
from tests.pretrained.whispers import BANDS, RATE, SECONDS, make_tokenizer, save_whisper
from tests.speech.making import WORDS, say, write_data
from tests.training.here import read
from tests.training.stopping import StopAfter
from workers.audio import decode
from workers.contract import SPEECH_RECOGNITION, EventWriter, ProgramFailure
from workers.inference.hearing import LOUDEST
from workers.inference.predictor import load_predictor
from workers.pretrained.families import choose_files
from workers.pretrained.languages import check_told, read_texts
from workers.training.loop import prepare_torch
from workers.training.pretrained import whisper
from workers.training.pretrained.log_mel import LogMel
from workers.training.stopping import Stop, Stopped

pytestmark = pytest.mark.xdist_group("pretrained-whisper")  # one training for all

TOLD = {"spoken_language": "en", "beam_size": 3, "layer_decay": 1.0}


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("few"), 30)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_whisper(tmp_path_factory.mktemp("checkpoints") / "tiny-whisper")


@pytest.fixture(scope="session")
def trained(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``output/`` of a Whisper that learned the tests' speech."""
    spoken = write_data(tmp_path_factory.mktemp("spoken"), texts=[*WORDS] * 20)
    settings = TOLD | {"epochs": 8, "learning_rate": 0.004, "batch_seconds": 3}
    return train_from(tmp_path_factory.mktemp("work"), spoken, checkpoint, **settings)


def started(work: Path, data: Path, folder: Path, **settings: object) -> whisper.WhisperNetwork:
    """The model that a training would begin with."""
    spec = spec_from(work, data, folder, **TOLD | settings)
    return whisper.start(spec, *whisper.read(spec), EventWriter(work / "events.jsonl")).eval()


def test_what_is_said_is_learned_and_the_model_says_what_it_started_from(trained: Path) -> None:
    result, meta = read(trained / "result.json"), read(trained / "model" / "meta.json")
    assert result["metrics"]["test"]["wer"] <= 0.35 < 0.5 < result["baseline"]["test"]["wer"]
    assert [way["name"] for way in result["decodings"]] == ["greedy", "beams"]
    assert sum(way["is_kept"] for way in result["decodings"]) == 1
    assert (result["architecture"], meta["start"]["family"], meta["writes"]) == ("Whisper", "whisper", "whisper")
    names = make_tokenizer().id_to_token
    prompt = ["<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>"]
    assert [names(number - 1) for number in meta["prompt"]] == prompt


@pytest.mark.parametrize("bands", [BANDS, 80])
def test_a_recording_is_heard_as_the_checkpoint_heard_it(bands: int) -> None:
    from transformers import WhisperFeatureExtractor  # noqa: PLC0415

    samples = np.rint(say("ma bo ea", 1, RATE) * LOUDEST).astype(np.int16)
    theirs = WhisperFeatureExtractor(feature_size=bands, chunk_length=SECONDS)(
        samples / LOUDEST, sampling_rate=RATE, return_tensors="pt"
    ).input_features
    window = torch.zeros(1, SECONDS * RATE, dtype=torch.int16)
    window[0, : len(samples)] = torch.from_numpy(samples)
    ours = LogMel(bands=bands, window=400, hop=160, rate=RATE)(window)
    assert ours.shape == theirs.shape and torch.allclose(ours, theirs, atol=2e-3)


def greedy(model: torch.nn.Module, features: torch.Tensor, prompt: list[int], never: list[int], end: int) -> list[int]:
    """The most probable id after the other, each time from the beginning."""
    ids = list(prompt)
    while len(ids) < len(prompt) + 16:
        with torch.no_grad():
            logits = model(input_features=features, decoder_input_ids=torch.tensor([ids])).logits[0, -1]
        logits[never] = -np.inf
        if (best := int(logits.argmax())) == end:
            break
        ids.append(best)
    return ids[len(prompt) :]


def test_its_version_is_a_checkpoint_itself_that_writes_alike_in_transformers(trained: Path) -> None:
    from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration  # noqa: PLC0415

    folder = trained / "model"
    predictor, meta = load_predictor(folder, 1), read(folder / "meta.json")
    model = WhisperForConditionalGeneration.from_pretrained(folder, local_files_only=True)
    extractor, tokenizer = WhisperFeatureExtractor.from_pretrained(folder), make_tokenizer()
    predictor.search = predictor.search.__class__(
        1, 1.0, meta["search"]["end"], tuple(meta["search"]["never"])
    )  # greedy
    for example in meta["input"]["examples"]:
        body = (folder / example["file"]).read_bytes()
        features = extractor(decode(body, RATE), sampling_rate=RATE, return_tensors="pt").input_features
        prompt, never = (
            [number - 1 for number in numbers if number] for numbers in (meta["prompt"], predictor.search.never)
        )
        found = greedy(model, features, prompt, never, meta["search"]["end"] - 1)
        assert predictor.predict([body])[0].text == tokenizer.decode(found).strip()
    names = {path.name: path.stat().st_size for path in folder.iterdir()}
    assert "tokenizer.json" in choose_files(names, SPEECH_RECOGNITION, most_bytes=10**9)


def test_another_training_goes_on_from_what_it_knows(trained: Path, tmp_path: Path) -> None:
    few = write_data(tmp_path / "few", texts=[*WORDS] * 10)
    settings = TOLD | {"fine_tuning": "head", "learning_rate": 1e-6, "epochs": 1, "beam_size": 1}
    output = train_from(tmp_path, few, trained / "model", **settings)
    assert read(output / "result.json")["metrics"]["test"]["wer"] <= 0.5
    assert "Training the decoder alone" in (tmp_path / "events.jsonl").read_text()


def fitted(work: Path, data: Path, folder: Path, stop: Stop, *, resume: bool = False) -> tuple[list, dict]:
    """The history of a short training, and the weights that it ends with."""
    settings = TOLD | {"fine_tuning": "lora", "epochs": 2, "dropout": 0.1, "augmentation": "light"}
    spec, events = spec_from(work, data, folder, resume=resume, **settings), EventWriter(work / "events.jsonl")
    prepare_torch(1, 0)
    heard, writing = whisper.read(spec)
    task = whisper.load_task(spec, heard, writing, events, Stop())
    model = whisper.start(spec, heard, writing, events)
    history = whisper.fit_model(model, task, spec, events, stop).history
    return history, {name: value.clone() for name, value in model.state_dict().items()}


def test_a_training_that_was_stopped_ends_as_if_it_had_not_been(few: Path, checkpoint: Path, tmp_path: Path) -> None:
    history, weights = fitted(tmp_path / "whole", few, checkpoint, Stop())
    with pytest.raises(Stopped):
        fitted(tmp_path / "cut", few, checkpoint, StopAfter(3))
    resumed, again = fitted(tmp_path / "cut", few, checkpoint, Stop(), resume=True)
    assert resumed == history and len(history) == 2
    assert all(torch.equal(value, again[name]) for name, value in weights.items())


def test_only_what_was_asked_for_learns(few: Path, checkpoint: Path, tmp_path: Path) -> None:
    model = started(tmp_path / "head", few, checkpoint, fine_tuning="head")
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert learning and all(name.startswith("body.model.decoder.") for name in learning)
    assert not [name for name in learning if "embed_tokens" in name]
    adapted = started(tmp_path / "lora", few, checkpoint, fine_tuning="lora")
    learning = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    assert learning and all("lora_" in name and "proj_out" not in name for name in learning)


def test_a_recording_longer_than_it_hears_is_cut_and_no_times_are_made_up(trained: Path) -> None:
    predictor = load_predictor(trained / "model", 1)
    silence = np.zeros(4000, dtype=np.float32)
    long = np.concatenate([part for place in range(4) for part in (say("ma bo", seed=place), silence)])
    found, short = predictor.predict([encoded(long), encoded(say("ma", 1)[:40])])
    assert len(found.text.split()) >= 2 and found.words == () and 0 < found.confidence <= 1
    assert predictor.outcome(found)["words"] == [] and isinstance(short.text, str)


def test_the_demo_page_shows_a_text_without_times() -> None:
    outcome = {"text": "ma bo", "confidence": 0.9, "words": []}
    assert "ma bo" in render_to_string("deployments/answer_speech.html", {"outcome": outcome})


def test_a_trained_model_is_served_without_transformers_peft_and_torch(trained: Path, tmp_path: Path) -> None:
    meta = read(trained / "model" / "meta.json")
    texts = texts_of("Speech v1", SPEECH_RECOGNITION, meta, {})
    assert "numpy soundfile onnxruntime tokenizers" in texts["README.md"]
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for path in (trained / "model").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    check = "import sys, runpy\nsys.argv = ['predict.py', '--check']\n"
    check += "try: runpy.run_path('predict.py', run_name='__main__')\nexcept SystemExit as end: assert not end.code\n"
    check += "print([name for name in ('torch', 'transformers', 'peft') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip().splitlines()[-1:]) == (0, ["[]"]), done.stderr


@pytest.mark.parametrize(
    ("settings", "code", "field"),
    [
        ({"spoken_language": ""}, "language_needed", "spoken_language"),
        ({"spoken_language": "fr"}, "unknown_language", "spoken_language"),
    ],
)
def test_one_of_several_languages_must_be_told_which(
    settings: dict, code: str, field: str, few: Path, checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(ProgramFailure) as caught:
        whisper.read(spec_from(tmp_path, few, checkpoint, **TOLD | settings))
    assert (caught.value.code, caught.value.field) == (code, field)


def test_one_of_english_alone_is_told_nothing(few: Path, tmp_path: Path) -> None:
    folder = save_whisper(tmp_path / "english", is_multilingual=False)
    _heard, writing = whisper.read(spec_from(tmp_path / "work", few, folder, spoken_language=""))
    names = make_tokenizer().id_to_token
    assert [names(number - 1) for number in writing.prompt] == ["<|startoftranscript|>", "<|notimestamps|>"]
    for settings, field in (
        ({"spoken_language": "en"}, "spoken_language"),
        ({"speech_task": "translate"}, "speech_task"),
    ):
        with pytest.raises(ProgramFailure) as caught:
            whisper.read(spec_from(tmp_path / "work", few, folder, **settings))
        assert (caught.value.code, caught.value.field) == ("no_languages", field)


def test_what_writes_characters_is_told_nothing(tmp_path: Path) -> None:
    folder = save_recogniser(tmp_path)
    texts = read_texts({path.name: path.read_bytes() for path in folder.glob("*.json")})
    check_told(SPEECH_RECOGNITION, "wav2vec2", texts, {"spoken_language": "", "speech_task": "transcribe"})
    with pytest.raises(ValueError, match="no token for a spoken language"):
        check_told(SPEECH_RECOGNITION, "wav2vec2", texts, {"spoken_language": "en", "speech_task": "transcribe"})


def test_what_is_translated_is_asked_for_so(few: Path, checkpoint: Path, tmp_path: Path) -> None:
    _heard, writing = whisper.read(spec_from(tmp_path, few, checkpoint, spoken_language="de", speech_task="translate"))
    names = make_tokenizer().id_to_token
    assert [names(number - 1) for number in writing.prompt][1:3] == ["<|de|>", "<|translate|>"]


@pytest.mark.parametrize(
    ("name", "code"), [("tokenizer.json", "no_tokenizer"), ("preprocessor_config.json", "damaged_checkpoint")]
)
def test_a_checkpoint_that_lacks_a_file_is_a_failure_of_the_settings(
    name: str, code: str, few: Path, checkpoint: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "lacking"
    folder.mkdir()
    for path in checkpoint.iterdir():
        if path.name != name:
            (folder / path.name).write_bytes(path.read_bytes())
    with pytest.raises(ProgramFailure) as caught:
        whisper.read(spec_from(tmp_path / "work", few, folder, **TOLD))
    assert (caught.value.code, caught.value.field) == (code, "start_from")
