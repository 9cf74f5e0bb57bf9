"""Small pretrained recognisers as transformers saves them. They have learned nothing."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tests.pretrained.making import CARD
from tests.training.here import write_training
from workers.contract import SPEECH_RECOGNITION, EventWriter, TrainSpec, read_spec
from workers.training.speech import train
from workers.training.stopping import Stop

RATE = 8_000  # that of the tests' speech
SIZES = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48,
    "conv_dim": (24, 24, 24), "conv_kernel": (10, 8, 4), "conv_stride": (5, 8, 4), "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2, "pad_token_id": 0, "vocab_size": 8,
    "hidden_dropout": 0.0, "attention_dropout": 0.0, "feat_proj_dropout": 0.0, "activation_dropout": 0.0,
    "num_codevector_groups": 2, "num_codevectors_per_group": 4, "codevector_dim": 8, "proj_codevector_dim": 8,
}  # fmt: skip
LETTERS = {"<pad>": 0, "|": 1, "A": 2, "B": 3, "E": 4, "M": 5, "O": 6, "<unk>": 7}


def save_recogniser(folder: Path, family: str = "wav2vec2", *, writes: bool = False, **changes: Any) -> Path:
    """An untrained encoder of a family, as small as can be, as a checkpoint in `folder`; one that `writes` has a head
    for capitals."""
    from transformers import AutoConfig, AutoModel, AutoModelForCTC  # noqa: PLC0415

    known = SIZES | ({"conv_pos_kernel_size": 5, "num_conv_pos_embeddings": 3} if family == "data2vec-audio" else {})
    config = AutoConfig.for_model(family, **known | changes)
    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    (AutoModelForCTC if writes else AutoModel).from_config(config).save_pretrained(folder)
    hides = getattr(config, "feat_extract_norm", "layer") == "layer"
    preprocessor = {"sampling_rate": RATE, "do_normalize": True, "return_attention_mask": hides, "feature_size": 1,
                    "feature_extractor_type": "Wav2Vec2FeatureExtractor", "padding_value": 0.0}  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    if writes:
        (folder / "vocab.json").write_text(json.dumps(LETTERS))
    (folder / "README.md").write_text(CARD)
    return folder


def spec_from(work: Path, data: Path, start: Path, *, resume: bool = False, **settings: Any) -> TrainSpec:
    """Of a short training in full that starts from the checkpoint in `start`."""
    chosen = {
        "start_from": start.name, "fine_tuning": "full", "body_rate": 1.0, "learning_rate": 0.004, "epochs": 2,
        "batch_seconds": 6, "augmentation": "none", "dropout": 0.0, **settings,
    }  # fmt: skip
    path = write_training(work, data, SPEECH_RECOGNITION, chosen, resume=resume)
    return replace(read_spec(TrainSpec, path), start_dir=str(start))


def train_from(work: Path, data: Path, start: Path, **settings: Any) -> Path:
    """``output/`` of it."""
    train(spec_from(work, data, start, **settings), EventWriter(work / "events.jsonl"), Stop())
    return work / "output"
