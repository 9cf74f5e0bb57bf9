"""Small checkpoints as transformers saves them, with a tokenizer of the texts of the tests."""

import json
import re
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from tests.texts.making import QUICK, english, make_spec
from workers.contract import EventWriter, TrainSpec, read_spec
from workers.training.stopping import Stop
from workers.training.texts import train

CARD = "---\nlanguage: en\nlicense: apache-2.0\n---\n# A small encoder\n"
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
DISTIL_SIZES = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48}
FROM_SCRATCH_ONLY = ("embedding_size",)
PIECES = 300  # more than the tokenizer has
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


def make_tokenizer() -> Tokenizer:
    """Of the words of the tests' texts, and letters for all others. (A trainer breaks ties otherwise each time.)"""
    words = sorted({word for text, _label in english() for word in re.findall(r"\w+", text)})
    letters = [prefix + letter for prefix in ("", "##") for letter in ascii_lowercase]
    pieces = dict.fromkeys([*SPECIAL, *letters, *words])
    tokenizer = Tokenizer(models.WordPiece({piece: number for number, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def save_encoder(folder: Path, family: str = "bert", seed: int = 0, **changes: Any) -> Path:
    """An untrained encoder of a family, as small as can be, as a checkpoint in `folder`."""
    from transformers import AutoConfig, AutoModel  # noqa: PLC0415 (seconds to load, for those that build models)

    sizes = DISTIL_SIZES if family == "distilbert" else SIZES
    if family in ("albert", "electra"):
        sizes = sizes | {"embedding_size": 16}
    known = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
    config = AutoConfig.for_model(family, **(sizes | known | {"vocab_size": PIECES} | changes))
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    AutoModel.from_config(config).save_pretrained(folder)
    make_tokenizer().save(str(folder / "tokenizer.json"))
    (folder / "README.md").write_text(CARD)
    return folder


IMAGE_SIZES = {
    "convnext": {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2},
    "convnextv2": {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2},
    "regnet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "groups_width": 4},
    "resnet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"},
    "swin": {
        "embed_dim": 16,
        "depths": [1, 1],
        "num_heads": [2, 2],
        "window_size": 4,
        "image_size": 16,
        "patch_size": 2,
    },
}
IMAGES_OF_16 = SIZES | {"image_size": 16, "patch_size": 4}
PREPROCESSOR = {"size": {"height": 16, "width": 16}, "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.25, 0.5]}


def save_image_encoder(folder: Path, family: str = "vit") -> Path:
    """An untrained encoder of images of 16 pixels, as small as can be, as a checkpoint in `folder`."""
    from transformers import AutoConfig, AutoModel  # noqa: PLC0415

    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    config = AutoConfig.for_model(family, **IMAGE_SIZES.get(family, IMAGES_OF_16))
    AutoModel.from_config(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    (folder / "README.md").write_text(CARD)
    return folder


def spec_from(work: Path, data: Path, start: Path, *, resume: bool = False, **settings: Any) -> TrainSpec:
    """Of a short training that starts from the checkpoint in `start`."""
    quick = {name: value for name, value in QUICK.items() if name not in FROM_SCRATCH_ONLY}
    chosen = quick | {"start_from": start.name, "learning_rate": 0.01, "epochs": 3} | settings
    spec = read_spec(TrainSpec, make_spec(work, data, resume=resume, **chosen))
    return TrainSpec(**{**vars(spec), "start_dir": str(start)})


def train_from(work: Path, data: Path, start: Path, **settings: Any) -> Path:
    """``output/`` of it."""
    spec = spec_from(work, data, start, **settings)
    train(spec, EventWriter(work / "events.jsonl"), Stop())
    return work / "output"
