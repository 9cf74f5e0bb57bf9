"""Small pretrained translators as transformers saves them, with tokenizers of the toy language of the tests. They have
learned nothing."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tests.pretrained.making import CARD
from tests.training.here import write_training
from tests.translation.making import toy
from workers.contract import TRANSLATION, EventWriter, TrainSpec, read_spec
from workers.training.stopping import Stop
from workers.training.translation import train

BLANK = "\u2581"
LETTERS = "abcdefghijklmnopqrstuvwxyz"
NLLB, MBART_25, M2M100 = "nllb", "mbart_25", "m2m_100"  # of one `model_type` with another here
LANGUAGES = {
    "marian": {"target_language": "toy"},
    M2M100: {"source_language": "en", "target_language": "de"},
    NLLB: {"source_language": "eng_Latn", "target_language": "deu_Latn"},
    "mbart": {"source_language": "en_XX", "target_language": "de_DE"},
    MBART_25: {"source_language": "en_XX", "target_language": "de_DE"},
    "t5": {"source_prefix": "translate: "},
    "mt5": {},
}  # what a training is told of each
SIZES = {
    "d_model": 48, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 40,
    "init_std": 0.1, "dropout": 0.0,
}  # fmt: skip
T5_SIZES = {
    "d_model": 48, "d_kv": 24, "d_ff": 64, "num_layers": 2, "num_heads": 2, "dropout_rate": 0.0, "pad_token_id": 0,
    "eos_token_id": 1, "decoder_start_token_id": 0, "tie_word_embeddings": False,
}  # fmt: skip


def pieces_of(sides: Sequence[int] = (0, 1)) -> list[str]:
    """The words of the toy language's sides and of English, each behind a blank, and letters for all others."""
    words = sorted({word for pair in toy() for side in sides for word in pair[side].split()} | {"translate"})
    return list(dict.fromkeys([*(BLANK + word for word in words), BLANK, ":", *LETTERS]))


def write_spm(path: Path, pieces: Sequence[str], *, is_bpe: bool = False) -> None:
    """A file as SentencePiece writes it, through the definition of its format that transformers ships. Whole words are
    more probable than letters; a BPE has what its words are merged from."""
    from transformers.utils import sentencepiece_model_pb2_new as proto  # noqa: PLC0415

    model = proto.ModelProto()
    model.trainer_spec.model_type = 2 if is_bpe else 1
    model.normalizer_spec.name = "identity"
    for piece, kind in (("<unk>", 2), ("<s>", 3), ("</s>", 3)):
        model.pieces.add(piece=piece, score=0.0, type=kind)
    for number, piece in enumerate(pieces):
        score = -float(number) if is_bpe else -1.0 if len(piece) > 1 else -10.0
        model.pieces.add(piece=piece, score=score, type=1)
    path.write_bytes(model.SerializeToString())


def save_translator(folder: Path, family: str) -> Path:
    """An untrained translator of a family, as small as can be, as a checkpoint in `folder`."""
    from transformers import AutoConfig, AutoModelForSeq2SeqLM  # noqa: PLC0415

    folder.mkdir(parents=True, exist_ok=True)
    known = WRITERS[family](folder)
    model_type = {NLLB: "m2m_100", MBART_25: "mbart"}.get(family, family)
    sizes = T5_SIZES if model_type in ("t5", "mt5") else SIZES
    torch.manual_seed(0)
    model = AutoModelForSeq2SeqLM.from_config(AutoConfig.for_model(model_type, **sizes | known))
    model.save_pretrained(folder)
    (folder / "README.md").write_text(CARD)
    return folder


def _write_marian(folder: Path) -> dict[str, Any]:
    write_spm(folder / "source.spm", pieces_of([0]))
    write_spm(folder / "target.spm", pieces_of([1]))
    names = ["</s>", "<unk>", *pieces_of(), ">>toy<<", ">>rev<<", "<pad>"]
    (folder / "vocab.json").write_text(json.dumps({name: number for number, name in enumerate(names)}))
    last = len(names) - 1
    return {"vocab_size": len(names), "pad_token_id": last, "decoder_start_token_id": last, "eos_token_id": 0}


FAIRSEQ = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}


def _write_m2m100(folder: Path) -> dict[str, Any]:
    names = ["<s>", "<pad>", "</s>", "<unk>", *pieces_of()]
    write_spm(folder / "sentencepiece.bpe.model", pieces_of())
    (folder / "vocab.json").write_text(json.dumps({name: number for number, name in enumerate(names)}))
    languages = ["__af__", "__de__", "__en__"]
    (folder / "special_tokens_map.json").write_text(json.dumps({"additional_special_tokens": languages}))
    return FAIRSEQ | {"vocab_size": len(names) + len(languages) + 8}  # fairseq makes some up


def _write_nllb(folder: Path) -> dict[str, Any]:
    from transformers import NllbTokenizer  # noqa: PLC0415

    characters = sorted({*"".join(pieces_of())})
    vocabulary = ["<s>", "<pad>", "</s>", "<unk>", *characters]
    tokenizer = NllbTokenizer(vocab={name: number for number, name in enumerate(vocabulary)}, merges=[])
    tokenizer.save_pretrained(folder)
    return FAIRSEQ | {"vocab_size": len(tokenizer)}


def _write_mbart(folder: Path) -> dict[str, Any]:
    from transformers import MBart50Tokenizer  # noqa: PLC0415

    scores = [(name, 0.0) for name in ("<unk>", "<s>", "</s>")]
    scores += [(piece, -1.0 if len(piece) > 1 else -10.0) for piece in pieces_of()]
    tokenizer = MBart50Tokenizer(vocab=scores)
    tokenizer.save_pretrained(folder)
    return FAIRSEQ | {"vocab_size": len(tokenizer)}


def _write_mbart_25(folder: Path) -> dict[str, Any]:
    """SentencePiece's file alone, as the first mBART came; a text begins with its language."""
    write_spm(folder / "sentencepiece.bpe.model", pieces_of())
    languages = ["ar_AR", "de_DE", "en_XX"]
    (folder / "special_tokens_map.json").write_text(json.dumps({"additional_special_tokens": languages}))
    size = 1 + 3 + len(pieces_of()) + len(languages) + 1
    return FAIRSEQ | {"vocab_size": size, "decoder_start_token_id": None}


def _write_t5(folder: Path) -> dict[str, Any]:
    from transformers import T5Tokenizer  # noqa: PLC0415

    scores = [(name, 0.0) for name in ("<pad>", "</s>", "<unk>")]
    scores += [(piece, -1.0 if len(piece) > 1 else -10.0) for piece in pieces_of()]
    tokenizer = T5Tokenizer(vocab=scores, extra_ids=4)
    tokenizer.save_pretrained(folder)
    return {"vocab_size": len(tokenizer) + 5}


def _write_mt5(folder: Path) -> dict[str, Any]:
    from transformers.utils import sentencepiece_model_pb2_new as proto  # noqa: PLC0415

    write_spm(folder / "spiece.model", pieces_of())
    model = proto.ModelProto.FromString((folder / "spiece.model").read_bytes())
    for number, (piece, kind) in enumerate((("<pad>", 3), ("</s>", 3), ("<unk>", 2))):
        model.pieces[number].piece, model.pieces[number].type = piece, kind
    model.trainer_spec.unk_id = 2
    (folder / "spiece.model").write_bytes(model.SerializeToString())
    return {"vocab_size": len(model.pieces) + 5}


WRITERS = {
    "marian": _write_marian, M2M100: _write_m2m100, NLLB: _write_nllb, "mbart": _write_mbart,
    MBART_25: _write_mbart_25, "t5": _write_t5, "mt5": _write_mt5,
}  # fmt: skip


def spec_from(work: Path, data: Path, start: Path, family: str, *, resume: bool = False, **settings: Any) -> TrainSpec:
    """Of a short training in full that starts from the checkpoint in `start`."""
    chosen = {
        "start_from": start.name, "fine_tuning": "full", "learning_rate": 0.005, "epochs": 1, "batch_tokens": 256,
        "max_tokens": 32, "label_smoothing": 0.0, "beam_size": 2, **LANGUAGES[family], **settings,
    }  # fmt: skip
    path = write_training(work, data, TRANSLATION, chosen, resume=resume)
    return replace(read_spec(TrainSpec, path), start_dir=str(start))


def train_from(work: Path, data: Path, start: Path, family: str, **settings: Any) -> Path:
    """``output/`` of it."""
    train(spec_from(work, data, start, family, **settings), EventWriter(work / "events.jsonl"), Stop())
    return work / "output"
