"""A classifier of texts on a pretrained encoder: it learns, answers alike as a graph, goes on where it was stopped, and
serves without the library it was made with."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from apps.registry.bundles import texts_of
from tests.pretrained.making import save_encoder, spec_from, train_from
from tests.stack import ROOT
from tests.texts.making import english, write_texts
from tests.training.here import read
from tests.training.stopping import StopAfter
from workers.compression.program import compress
from workers.compression.recipes import resolve as resolve_compression
from workers.contract import TEXT_CLASSIFICATION, CompressSpec, EventWriter, ProgramFailure, read_events
from workers.inference.predictor import load_predictor
from workers.pretrained.encoder import PretrainedEncoder
from workers.pretrained.families import TEXT_ENCODERS
from workers.training.checkpoints import CheckpointStore
from workers.training.export import export_onnx, largest_difference
from workers.training.pretrained.adapting import adapted_layers, prepare, settle
from workers.training.pretrained.bodies import config_of, load_body
from workers.training.pretrained.texts import PretrainedText
from workers.training.stopping import Stop, Stopped
from workers.training.subjects import load_classifier
from workers.training.text_models import TextProbabilities
from workers.training.texts import train

TEXTS = ["where is my parcel", "", "refund " * 300, "天气 \ud800 ok", "I love this lamp so much!"]
DISTIL = {"method": "distil", "width": 0.5, "epochs": 1}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_texts(tmp_path_factory.mktemp("data"), english())


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_encoder(tmp_path_factory.mktemp("checkpoints") / "tiny-bert")


@pytest.fixture(scope="module")
def trained(data: Path, bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_from(tmp_path_factory.mktemp("work"), data, bert, fine_tuning="lora", learning_rate=0.005, epochs=12)


def test_a_training_from_a_checkpoint_learns_what_texts_are_about(trained: Path) -> None:
    assert read(trained / "result.json")["metrics"]["test"]["accuracy"] >= 0.9


def test_the_model_says_what_it_started_from_and_under_which_licence(trained: Path, bert: Path) -> None:
    start = read(trained / "model" / "meta.json")["start"]
    weights = (bert / "model.safetensors").stat().st_size
    assert start == {
        "name": "tiny-bert", "family": "bert", "label": "BERT", "license": "apache-2.0", "weight_bytes": weights,
        "fine_tuning": "lora",
    }  # fmt: skip


def test_texts_are_cut_as_the_checkpoints_own_tokenizer_cuts_them(bert: Path) -> None:
    theirs = AutoTokenizer.from_pretrained(bert, local_files_only=True)
    ours = PretrainedEncoder.of_checkpoint(bert, tokens=16, characters=4000)
    for text in (text for text in TEXTS if "\ud800" not in text):
        assert list(ours.ids(text) - 1) == theirs(text, truncation=True, max_length=16)["input_ids"]


def test_the_graph_answers_as_the_weights_do_for_texts_of_any_number_and_length(trained: Path) -> None:
    folder = trained / "model"
    predictor = load_predictor(folder, 1)
    model = load_classifier(folder, read(folder / "meta.json"))
    for texts in (TEXTS, TEXTS[:1], ["a"]):
        with torch.no_grad():
            expected = model(torch.from_numpy(predictor.encode(texts))).softmax(dim=1).numpy()
        assert np.abs(predictor.predict(texts) - expected).max() < 1e-4


def test_a_trained_model_is_served_without_transformers_peft_and_torch(trained: Path) -> None:
    ask = (
        "import sys\n"
        "from pathlib import Path\n"
        "from workers.inference.predictor import load_predictor\n"
        f"found = load_predictor(Path({str(trained / 'model')!r}), 1).predict(['where is my lamp'])\n"
        "assert found.shape == (1, 3)\n"
        "print([name for name in ('torch', 'transformers', 'peft') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", ask], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


@pytest.mark.parametrize("family", sorted(TEXT_ENCODERS))
def test_every_family_that_is_offered_is_loaded_and_exported_and_can_be_adapted(family: str, tmp_path: Path) -> None:
    body = load_body(save_encoder(tmp_path, family))
    config = config_of(body)
    model = PretrainedText(config=config, classes=3, dropout=0.0, body=body)
    assert json.loads(json.dumps(config))["model_type"] == family
    again = PretrainedText(config=json.loads(json.dumps(config)), classes=3, dropout=0.0)
    again.load_state_dict(model.state_dict())
    ids = torch.tensor([[3, 20, 30, 40, 4, 0, 0], [3, 50, 60, 70, 80, 90, 4]], dtype=torch.int32)
    with torch.no_grad():  # an answer does not depend on the texts that are asked beside
        assert torch.allclose(again.eval()(ids)[:1], again(ids[:1, :5]), atol=1e-5)
    export_onnx(TextProbabilities(again), {"ids": ids}, "probabilities", tmp_path / "model.onnx", ("ids",))
    longer = torch.randint(5, 90, (3, 11), dtype=torch.int32)
    assert largest_difference(TextProbabilities(model), {"ids": longer}, tmp_path / "model.onnx") < 1e-4
    prepare(model, {"fine_tuning": "lora", "lora_rank": 2, "lora_alpha": 4.0, "dropout": 0.0})
    model(ids).sum().backward()
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert len(learning) > 10 and all(parameter.grad is not None for parameter in learning)


@pytest.mark.parametrize("fine_tuning", ["full", "head", "lora"])
def test_only_what_was_asked_for_learns(fine_tuning: str, data: Path, bert: Path, tmp_path: Path) -> None:
    output = train_from(tmp_path, data, bert, fine_tuning=fine_tuning, epochs=1)
    before, after = load_body(bert).state_dict(), load_file(output / "model" / "model.safetensors")
    changed = {
        name
        for name, value in before.items()
        if f"body.{name}" in after and not torch.equal(value, after[f"body.{name}"])
    }
    linear = {
        name
        for name in before
        if name.endswith("weight") and ("attention" in name or "dense" in name) and "Norm" not in name
    }
    if fine_tuning == "head":
        assert changed == set()
    elif fine_tuning == "lora":
        assert changed == {name for name in linear if "pooler" not in name}
    else:
        assert {"embeddings.word_embeddings.weight", *linear} - {"pooler.dense.weight"} <= changed
    assert not [name for name in after if "lora" in name or "base_layer" in name]


def test_merged_weights_answer_as_the_adapters_did() -> None:
    torch.manual_seed(0)
    config = {"model_type": "bert", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
              "intermediate_size": 24, "vocab_size": 40}  # fmt: skip
    model = PretrainedText(config=config, classes=3, dropout=0.0)
    prepare(model, {"fine_tuning": "lora", "lora_rank": 4, "lora_alpha": 8.0, "dropout": 0.0})
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.3)
    ids = torch.randint(1, 40, (4, 7))
    with torch.no_grad():
        before = model.eval()(ids)
        settle(model)
        assert torch.allclose(model(ids), before, atol=1e-5)
    names = {name.rpartition(".")[2] for name in adapted_layers(model.body)}
    assert names == {"query", "key", "value", "dense"}


def test_lower_layers_learn_more_slowly_than_higher_ones() -> None:
    config = {"model_type": "bert", "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2,
              "intermediate_size": 24, "vocab_size": 40}  # fmt: skip
    model = PretrainedText(config=config, classes=2, dropout=0.0)
    prepare(model, {"fine_tuning": "full", "body_rate": 0.5, "layer_decay": 0.1})
    rates = {name: getattr(parameter, "rate_factor", 1.0) for name, parameter in model.named_parameters()}
    assert rates["head.weight"] == 1
    layers = [rates[f"body.encoder.layer.{number}.output.dense.weight"] for number in range(3)]
    assert layers == pytest.approx([0.005, 0.05, 0.5])
    assert rates["body.embeddings.word_embeddings.weight"] == pytest.approx(0.0005)


@pytest.mark.parametrize("fine_tuning", ["full", "lora"])
def test_a_training_that_was_stopped_ends_as_if_it_had_not_been(
    fine_tuning: str, data: Path, bert: Path, tmp_path: Path
) -> None:
    whole = train_from(tmp_path / "whole", data, bert, fine_tuning=fine_tuning, epochs=2)
    settings = {"fine_tuning": fine_tuning, "epochs": 2}
    cut = spec_from(tmp_path / "cut", data, bert, **settings)
    events = EventWriter(tmp_path / "cut" / "events.jsonl")
    with pytest.raises(Stopped):
        train(cut, events, StopAfter(7))
    if fine_tuning == "lora":
        (checkpoint,) = CheckpointStore(tmp_path / "cut" / "checkpoints").load_parts()
        assert not [name for name in checkpoint.tensors if "word_embeddings" in name]  # what does not learn is not kept
    train(spec_from(tmp_path / "cut", data, bert, resume=True, **settings), events, Stop())
    ends = [read(folder / "result.json") for folder in (whole, tmp_path / "cut" / "output")]
    assert ends[0]["history"] == ends[1]["history"]
    assert ends[0]["metrics"] == ends[1]["metrics"]


def spoil(folder: Path, target: Path, name: str, content: bytes) -> Path:
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    (target / name).write_bytes(content)
    return target


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("model.safetensors", b"nothing", "damaged_checkpoint"),
        ("tokenizer.json", b"{}", "damaged_checkpoint"),
        ("config.json", json.dumps({"model_type": "llama"}).encode(), "unsupported_family"),
        (
            "config.json",
            json.dumps({"model_type": "bert", "auto_map": {"AutoModel": "mine.py"}}).encode(),
            "foreign_code",
        ),
    ],
)
def test_a_checkpoint_that_is_no_good_is_a_failure_of_the_settings(
    name: str, content: bytes, code: str, data: Path, bert: Path, tmp_path: Path
) -> None:
    with pytest.raises(ProgramFailure) as caught:
        train_from(tmp_path / "work", data, spoil(bert, tmp_path / "spoilt", name, content))
    assert (caught.value.code, caught.value.blame, caught.value.field) == (code, "settings", "start_from")


def test_a_checkpoint_that_lacks_weights_is_refused(data: Path, bert: Path, tmp_path: Path) -> None:
    start = spoil(bert, tmp_path / "lacking", "note.txt", b"")
    kept = load_file(bert / "model.safetensors")
    kept.pop("encoder.layer.1.output.dense.weight")
    save_file(kept, start / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ProgramFailure, match=r"it has no encoder\.layer\.1\.output\.dense\.weight"):
        train_from(tmp_path / "work", data, start)


def test_it_is_made_smaller_by_the_methods_that_other_models_are_made_smaller_by(
    trained: Path, data: Path, tmp_path: Path
) -> None:
    recipes = [[{"method": "low_rank", "energy": 0.97, "epochs": 1}, {"method": "quantise"}], [DISTIL]]
    settings = resolve_compression(TEXT_CLASSIFICATION, {"recipes": recipes, "limit_points": 50.0})
    files = [str(trained / "model"), str(data / "data.csv"), str(data / "index.json")]
    spec = CompressSpec(str(tmp_path), TEXT_CLASSIFICATION, *files, settings, speed_seconds=0.1)
    events = EventWriter(tmp_path / "events.jsonl")
    compress(spec, events, Stop())
    made = [event for event, _offset in read_events(events.path) if event["type"] == "candidate"]
    original, smaller, distilled = made
    assert smaller["figures"]["bytes"] < original["figures"]["bytes"] / 3
    assert smaller["figures"]["metrics"]["accuracy"] >= original["figures"]["metrics"]["accuracy"] - 0.25
    assert load_predictor(tmp_path / smaller["folder"], 1).predict(["where is my lamp"]).shape == (1, 3)
    assert (distilled["verdict"], "has no narrower one" in distilled["reason"]) == ("failed", True)


def test_a_model_leaves_with_the_code_that_reads_its_tokenizer(trained: Path) -> None:
    meta = read(trained / "model" / "meta.json")
    texts = texts_of("Topics v1", TEXT_CLASSIFICATION, meta, {})
    assert {"workers/pretrained/encoder.py", "workers/pretrained/families.py"} <= set(texts)
    assert "pip install numpy onnxruntime tokenizers" in texts["README.md"]
