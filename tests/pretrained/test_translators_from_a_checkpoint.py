"""A translator on a pretrained checkpoint: it learns, writes what transformers itself would write, answers alike as
graphs, goes on where it was stopped, and serves without the library it was made with."""

import json
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
import torch

from apps.registry.bundles import texts_of
from tests.pretrained.translators import LANGUAGES, M2M100, MBART_25, NLLB, save_translator, spec_from, train_from
from tests.stack import ROOT
from tests.training.here import read
from tests.training.stopping import StopAfter
from tests.translation.making import toy, write_pairs
from workers.contract import TRANSLATION, EventWriter, ProgramFailure, TrainSpec
from workers.inference.translation_predictor import LEAST_ROOM, TranslationPredictor
from workers.inference.translations import Asked
from workers.pretrained.families import READING, TRANSLATORS, choose_files
from workers.training.checkpoints import CheckpointStore
from workers.training.loop import prepare_torch
from workers.training.pretrained.adapting import adapted_layers, prepare, settle
from workers.training.pretrained.translation import read as read_writing
from workers.training.pretrained.translation import start
from workers.training.stopping import Stop, Stopped
from workers.training.translation import fit_model, load_data, make_model
from workers.training.writing import export_graphs

pytestmark = pytest.mark.xdist_group("pretrained-translation")  # one training for all

TEXTS = ["the dog sees water today", "a bird", "xylophone? the king!", "my friend finds the boat again", "water"]


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("pairs"), toy())


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory):
    """Makes one of a family when it is first asked for."""
    root = tmp_path_factory.mktemp("checkpoints")

    def of(family: str) -> Path:
        return root / family if (root / family).exists() else save_translator(root / family, family)

    return of


@pytest.fixture(scope="session")
def trained(pairs: Path, checkpoints, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``output/`` of a T5 that learned the toy language."""
    return train_from(tmp_path_factory.mktemp("work"), pairs, checkpoints("t5"), "t5", epochs=14)


def started(work: Path, pairs: Path, checkpoint: Path, family: str, **settings: object):
    """How a checkpoint is asked, and the model that a training would begin with."""
    spec = spec_from(work, pairs, checkpoint, family, **settings)
    writing = read_writing(spec)
    return writing, start(spec, writing, 32, EventWriter(work / "events.jsonl"))[0].eval()


def test_a_training_from_a_checkpoint_learns_the_language_and_says_what_it_started_from(trained: Path) -> None:
    result, meta = read(trained / "result.json"), read(trained / "model" / "meta.json")
    assert result["metrics"]["test"]["bleu"] > 99 > 5 > result["baselines"]["copy"]["bleu"]
    said = dict(toy())
    assert [item["machine"] for item in result["samples"]] == [said[item["source"]] for item in result["samples"]]
    assert (result["architecture"], meta["start"]["family"], meta["start"]["fine_tuning"]) == ("T5", "t5", "full")
    assert meta["start"]["license"] == "apache-2.0"


def test_its_version_is_a_checkpoint_itself_that_transformers_loads_and_that_asks_for_nothing_else(
    trained: Path, pairs: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer  # noqa: PLC0415

    folder = trained / "model"
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    source, target = toy()[8]
    asked = tokenizer(f"translate: {source}", return_tensors="pt")
    found = model.generate(**asked, max_new_tokens=20, num_beams=1, do_sample=False)
    assert tokenizer.decode(found[0], skip_special_tokens=True) == target
    files = choose_files({path.name: path.stat().st_size for path in folder.iterdir()}, TRANSLATION, most_bytes=10**9)
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(files)
    again = train_from(tmp_path, pairs, folder, "t5", fine_tuning="head", learning_rate=1e-6)
    assert read(again / "result.json")["metrics"]["test"]["bleu"] > 99


def graphs_of(model, writing, folder: Path) -> TranslationPredictor:
    """A predictor on the graphs of a model."""
    sources = torch.from_numpy(writing.source.ids(TEXTS[0]))[None].long()
    written = torch.from_numpy(writing.target.ids("ka ruf"))[None].long()
    export_graphs(model, "source", sources, written, folder)
    (folder / "sample.json").write_text(json.dumps({"text": TEXTS[0]}))
    for name in {name for files in READING[TRANSLATION] for name in files} | {"special_tokens_map.json"}:
        if (folder.parent / "checkpoint" / name).exists():
            (folder / name).write_bytes((folder.parent / "checkpoint" / name).read_bytes())
    search = {"beams": 1, "penalty": 0.0, "end": writing.end, "never": writing.never}
    meta = {"sample": "sample.json", "pieces": writing.meta(), "search": search, "prompt": writing.prompt,
            "architecture_args": {"longest": writing.longest}, "growth": 0.0}  # fmt: skip
    return TranslationPredictor(folder, meta, 1)


def asked_of(family: str, folder: Path, text: str) -> tuple[list[int], list[int]]:
    """The ids that transformers gives a family to read, and those that what it writes begins with: by its
    tokenizer, and where that needs SentencePiece, as its documentation has it, spelled out."""
    from transformers import AutoTokenizer  # noqa: PLC0415

    told = LANGUAGES[family]
    if family in (NLLB, "mbart"):
        tokenizer = AutoTokenizer.from_pretrained(
            folder, src_lang=told["source_language"], tgt_lang=told["target_language"]
        )
        target = tokenizer.convert_tokens_to_ids(told["target_language"])
        return tokenizer(text)["input_ids"], [2, target]
    if family == "t5":
        return AutoTokenizer.from_pretrained(folder)(f"translate: {text}")["input_ids"], [0]
    words = ["\u2581" + word for word in text.split()]
    if family == "mt5":
        names = ["<pad>", "</s>", "<unk>", *_pieces()]
        return [*(names.index(word) for word in words), 1], [0]
    if family == "marian":
        names = json.loads((folder / "vocab.json").read_text())
        return [names[">>toy<<"], *(names[word] for word in words), names["</s>"]], [names["<pad>"]]
    names = ["<s>", "<pad>", "</s>", "<unk>", *_pieces()]
    size = len(names)
    if family == M2M100:  # languages: __af__, __de__, __en__
        return [size + 2, *(names.index(word) for word in words), 2], [2, size + 1]
    # languages: ar_AR, de_DE, en_XX
    return [*(names.index(word) for word in words), 2, size + 2], [size + 1]


def _pieces() -> list[str]:
    from tests.pretrained.translators import pieces_of  # noqa: PLC0415

    return pieces_of()


@pytest.mark.parametrize("family", sorted(LANGUAGES))
def test_every_family_writes_as_graphs_what_transformers_itself_writes(
    family: str, pairs: Path, checkpoints, tmp_path: Path
) -> None:
    checkpoint = checkpoints(family)
    (tmp_path / "checkpoint").symlink_to(checkpoint)
    writing, model = started(tmp_path, pairs, checkpoint, family)
    (tmp_path / "graphs").mkdir()
    predictor = graphs_of(model, writing, tmp_path / "graphs")
    texts = [TEXTS[0], TEXTS[1], TEXTS[3]]  # the others have letters that no piece of Marian has
    for text, item in zip(texts, predictor.predict([Asked(text) for text in texts]), strict=True):
        ids, begun = asked_of(family, checkpoint, text)
        assert [number - 1 for number in writing.source.ids(text)] == ids
        assert [number - 1 for number in writing.prompt] == begun
        found = model.body.generate(
            input_ids=torch.tensor([ids]), decoder_input_ids=torch.tensor([begun]), num_beams=1, do_sample=False,
            max_new_tokens=LEAST_ROOM, decoder_start_token_id=begun[0], forced_bos_token_id=None,
            forced_eos_token_id=None,
            suppress_tokens=[number - 1 for number in writing.never if number],
        )  # fmt: skip
        theirs = found[0, len(begun) :].tolist()
        assert item.text == writing.target.text([number + 1 for number in theirs])


def test_an_embedding_that_is_read_and_written_with_stands_once_in_a_graph(
    pairs: Path, checkpoints, tmp_path: Path
) -> None:
    writing, model = started(tmp_path, pairs, checkpoints("marian"), "marian")
    (tmp_path / "graphs").mkdir()
    (tmp_path / "checkpoint").symlink_to(checkpoints("marian"))
    graphs_of(model, writing, tmp_path / "graphs")
    graph = onnx.load(tmp_path / "graphs" / "writer.onnx").graph
    vocabulary = model.body.config.vocab_size
    assert len([item for item in graph.initializer if vocabulary in item.dims and len(item.dims) == 2]) == 2
    # that, and the bias of what is written


def test_the_families_that_are_offered_are_those_that_are_tried_here() -> None:
    assert {{NLLB: M2M100, MBART_25: "mbart"}.get(family, family) for family in LANGUAGES} == set(TRANSLATORS)


def test_a_text_is_read_and_written_back(pairs: Path, checkpoints, tmp_path: Path) -> None:
    for family in sorted(LANGUAGES):
        writing = read_writing(spec_from(tmp_path / family, pairs, checkpoints(family), family))
        for text in ("ka ruf okar", "zu po tik"):
            assert writing.target.text(writing.target.ids(text)) == text
        assert len(writing.source.ids("")) == len(writing.source.last)
        assert writing.source.shorten(writing.source.ids("the dog " * 20), 9)[-1] == writing.source.ids("a")[-1]


@pytest.mark.parametrize("family", ["marian", "t5"])
def test_only_what_was_asked_for_learns(family: str, pairs: Path, checkpoints, tmp_path: Path) -> None:
    _writing, model = started(tmp_path / "head", pairs, checkpoints(family), family, fine_tuning="head")
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert learning and all("decoder" in name or "lm_head" in name for name in learning)
    encoder = {id(parameter) for parameter in model.body.get_encoder().parameters()}
    assert not [name for name, parameter in model.named_parameters() if id(parameter) in encoder and name in learning]
    _writing, model = started(tmp_path / "lora", pairs, checkpoints(family), family, fine_tuning="lora")
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert learning and all("lora_" in name for name in learning)
    assert any("encoder" in name for name in learning) and any("decoder" in name for name in learning)
    _writing, model = started(tmp_path / "full", pairs, checkpoints(family), family)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_merged_weights_write_as_the_adapters_did_and_leave_the_embeddings_as_they_were(
    pairs: Path, checkpoints, tmp_path: Path
) -> None:
    _writing, model = started(tmp_path, pairs, checkpoints("marian"), "marian", fine_tuning="lora", lora_rank=4)
    before_any = model.body.get_input_embeddings().weight.clone()
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.3)
    sources, begun = torch.randint(2, 40, (3, 6)), torch.randint(2, 40, (3, 5))
    with torch.no_grad():
        before = model(sources, begun)
        settle(model)
        assert torch.allclose(model(sources, begun), before, atol=1e-4)
    assert torch.equal(model.body.get_input_embeddings().weight, before_any)
    assert "lm_head" not in adapted_layers(model.body)


def test_what_is_padded_and_what_is_asked_beside_changes_nothing(pairs: Path, checkpoints, tmp_path: Path) -> None:
    for family in (NLLB, "t5"):
        _writing, model = started(tmp_path / family, pairs, checkpoints(family), family)
        alone = torch.tensor([[5, 6, 7]])
        beside = torch.tensor([[5, 6, 7, 0, 0], [8, 9, 10, 11, 12]])
        with torch.no_grad():
            one = model(alone, torch.tensor([[1, 6, 7]]))
            both = model(beside, torch.tensor([[1, 6, 7, 0], [1, 8, 9, 10]]))
        assert torch.allclose(one[0], both[0, :3], atol=1e-5)


def fitted(work: Path, data: Path, folder: Path, family: str, stop: Stop, **settings: object) -> tuple[list, dict]:
    """The history of a short training, and the weights that it ends with."""
    spec = spec_from(work, data, folder, family, epochs=2, dropout=0.1, **settings)
    events = EventWriter(work / "events.jsonl")
    prepare_torch(1, 0)
    found = load_data(spec, events, Stop())
    model, _arguments = make_model(spec, found, events)
    history = fit_model(model, found, spec, events, stop).history
    return history, {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize(("family", "fine_tuning"), [("marian", "lora"), (M2M100, "full")])
def test_a_training_that_was_stopped_ends_as_if_it_had_not_been(
    family: str, fine_tuning: str, checkpoints, tmp_path: Path
) -> None:
    pairs, folder = write_pairs(tmp_path / "pairs", toy()[:60]), checkpoints(family)
    history, weights = fitted(tmp_path / "whole", pairs, folder, family, Stop(), fine_tuning=fine_tuning)
    with pytest.raises(Stopped):
        fitted(tmp_path / "cut", pairs, folder, family, StopAfter(4), fine_tuning=fine_tuning)
    (checkpoint,) = CheckpointStore(tmp_path / "cut" / "checkpoints").load_parts()
    kept = [name for name in checkpoint.tensors if name.startswith("model.")]
    assert len([name for name in kept if "shared" in name or "embed_tokens" in name or "lm_head" in name]) == (
        0 if fine_tuning == "lora" else 1  # what stands under several names is kept once
    )
    resumed, again = fitted(tmp_path / "cut", pairs, folder, family, Stop(), fine_tuning=fine_tuning, resume=True)
    assert resumed == history and len(history) == 2
    assert all(torch.equal(value, again[name]) for name, value in weights.items())


def test_a_trained_model_is_served_without_transformers_peft_and_torch(trained: Path) -> None:
    source, target = toy()[9]
    ask = (
        "import sys\n"
        "from pathlib import Path\n"
        "from workers.inference.predictor import load_predictor\n"
        "from workers.inference.translations import Asked\n"
        f"found = load_predictor(Path({str(trained / 'model')!r}), 1).predict([Asked({source!r}, 3), Asked('')])\n"
        f"assert [item.text for item in found] == [{target!r}, ''], found\n"
        "print([name for name in ('torch', 'transformers', 'peft') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", ask], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_a_model_leaves_with_the_code_that_reads_its_tokenizer(trained: Path, tmp_path: Path) -> None:
    meta = read(trained / "model" / "meta.json")
    for name, text in texts_of("Toy v1", TRANSLATION, meta, {}).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for path in (trained / "model").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "texts.txt").write_text(toy()[9][0])
    done = subprocess.run([sys.executable, "predict.py", "texts.txt"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and toy()[9][1] in done.stdout, done.stderr


def spoil(folder: Path, target: Path, **contents: bytes | None) -> Path:
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    for name, content in contents.items():
        path = target / name.replace("__", ".")
        path.unlink() if content is None else path.write_bytes(content)
    return target


def refused(work: Path, pairs: Path, folder: Path, family: str, **settings: object) -> tuple[str, str, str]:
    with pytest.raises(ProgramFailure) as caught:
        read_writing(spec_from(work, pairs, folder, family, **settings))
    return caught.value.code, caught.value.field, caught.value.message


@pytest.mark.parametrize(
    ("family", "settings", "code", "field"),
    [
        (NLLB, {"target_language": "deu"}, "unknown_language", "target_language"),
        (NLLB, {"source_language": ""}, "language_needed", "source_language"),
        ("mbart", {"target_language": ""}, "language_needed", "target_language"),
        ("marian", {"source_language": "en"}, "no_languages", "source_language"),
        ("t5", {"target_language": "de"}, "no_languages", "target_language"),
        ("marian", {"source_prefix": "translate"}, "no_prefix", "source_prefix"),
    ],
)
def test_a_checkpoint_is_told_only_what_it_understands(
    family: str, settings: dict, code: str, field: str, pairs: Path, checkpoints, tmp_path: Path
) -> None:
    assert refused(tmp_path, pairs, checkpoints(family), family, **settings)[:2] == (code, field)


def test_a_language_that_is_not_known_is_answered_with_those_that_are(pairs: Path, checkpoints, tmp_path: Path) -> None:
    message = refused(tmp_path, pairs, checkpoints(NLLB), NLLB, target_language="deu")[2]
    assert "ace_Arab, ace_Latn" in message and "more." in message


@pytest.mark.parametrize(
    ("family", "contents"),
    [
        ("marian", {"source__spm": b"nothing"}),
        ("marian", {"target__spm": b""}),
        ("marian", {"vocab__json": b'{">>toy<<": 3}'}),
        ("t5", {"tokenizer__json": b"{}"}),
        ("t5", {"config__json": b'{"model_type": "t5"}'}),
    ],
)
def test_a_damaged_checkpoint_is_a_failure_of_the_settings(
    family: str, contents: dict, pairs: Path, checkpoints, tmp_path: Path
) -> None:
    folder = spoil(checkpoints(family), tmp_path / "spoilt", **contents)
    assert refused(tmp_path / "work", pairs, folder, family)[0] == "damaged_checkpoint"


def test_what_a_body_that_writes_learns_is_said(pairs: Path, checkpoints, tmp_path: Path) -> None:
    spec: TrainSpec = spec_from(tmp_path, pairs, checkpoints("t5"), "t5", fine_tuning="head")
    model = start(spec, read_writing(spec), 32, EventWriter(tmp_path / "events.jsonl"))[0]
    assert "Training the decoder alone" in (tmp_path / "events.jsonl").read_text()
    assert prepare(model, spec.hyperparameters).endswith("weights learn.")
