"""The families of pretrained models that a training can start from, and what the files of a checkpoint say of it.

Pure Python: nothing of a checkpoint is executed, and no weight is read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from workers.contract import IMAGE_CLASSIFICATION, SPEECH_RECOGNITION, TEXT_CLASSIFICATION, TRANSLATION

CONFIG_FILE, WEIGHTS_FILE, WEIGHTS_INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
TOKENIZER_FILE, PREPROCESSOR_FILE, CARD_FILE = "tokenizer.json", "preprocessor_config.json", "README.md"
SOURCE_PIECES_FILE, TARGET_PIECES_FILE, VOCABULARY_FILE = "source.spm", "target.spm", "vocab.json"
PIECES_FILE, T5_PIECES_FILE = "sentencepiece.bpe.model", "spiece.model"
GENERATION_FILE, TOKENIZER_CONFIG_FILE = "generation_config.json", "tokenizer_config.json"
SPECIAL_TOKENS_FILE = "special_tokens_map.json"
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
MOST_BYTES_OF_TEXT_FILES = 50_000_000  # the largest tokenizers take some 17 MB
SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}")
REVISION = re.compile(r"[\w][\w./-]{0,99}")
LICENSE = re.compile(r"^license:[ \t]*[\"']?([\w.+-]{1,60})", re.MULTILINE)
CODE_KEYS = ("auto_map",)  # a config that names code of its own

# By `model_type` of config.json, as people call them. Each is exported to ONNX and compared in tests/pretrained.
TEXT_ENCODERS = {
    "albert": "ALBERT",
    "bert": "BERT",
    "camembert": "CamemBERT",
    "deberta-v2": "DeBERTa v2 and v3",
    "distilbert": "DistilBERT",
    "electra": "ELECTRA",
    "modernbert": "ModernBERT",
    "mpnet": "MPNet",
    "roberta": "RoBERTa",
    "xlm-roberta": "XLM-RoBERTa",
}
IMAGE_ENCODERS = {
    "beit": "BEiT",
    "convnext": "ConvNeXt",
    "convnextv2": "ConvNeXt V2",
    "deit": "DeiT",
    "dinov2": "DINOv2",
    "regnet": "RegNet",
    "resnet": "ResNet",
    "swin": "Swin",
    "vit": "ViT",
}
TRANSLATORS = {
    "marian": "Marian (OPUS-MT)",
    "m2m_100": "M2M100 and NLLB",
    "mbart": "mBART and mBART-50",
    "mt5": "mT5",
    "t5": "T5",
}
RECOGNISERS = {
    "data2vec-audio": "data2vec",
    "hubert": "HuBERT",
    "unispeech": "UniSpeech",
    "unispeech-sat": "UniSpeech-SAT",
    "wav2vec2": "Wav2Vec2",
    "wavlm": "WavLM",
    "whisper": "Whisper",
}
FAMILIES: dict[str, Mapping[str, str]] = {
    TEXT_CLASSIFICATION: TEXT_ENCODERS,
    IMAGE_CLASSIFICATION: IMAGE_ENCODERS,
    TRANSLATION: TRANSLATORS,
    SPEECH_RECOGNITION: RECOGNISERS,
}
# What says how a checkpoint sees its input, of which the first that is whole is read, beside config and weights.
MARIAN_FILES = (SOURCE_PIECES_FILE, TARGET_PIECES_FILE, VOCABULARY_FILE)
READING: dict[str, tuple[tuple[str, ...], ...]] = {
    TEXT_CLASSIFICATION: ((TOKENIZER_FILE,),),
    IMAGE_CLASSIFICATION: ((PREPROCESSOR_FILE,),),
    SPEECH_RECOGNITION: ((PREPROCESSOR_FILE,),),
    TRANSLATION: (
        (TOKENIZER_FILE,),
        MARIAN_FILES,
        (PIECES_FILE, VOCABULARY_FILE),
        (PIECES_FILE,),
        (T5_PIECES_FILE,),
    ),
}
# What says more where it is there.
ALSO_READ: dict[str, tuple[str, ...]] = {
    TRANSLATION: (GENERATION_FILE, TOKENIZER_CONFIG_FILE, SPECIAL_TOKENS_FILE),
    SPEECH_RECOGNITION: (VOCABULARY_FILE, TOKENIZER_FILE, GENERATION_FILE, TOKENIZER_CONFIG_FILE),
}
WRITERS = {TOKENIZER_FILE: "AutoTokenizer", PREPROCESSOR_FILE: "AutoImageProcessor or AutoFeatureExtractor"}


class CheckpointRefused(ValueError):
    """A checkpoint that no training can start from, or not with these settings: a stable `code`, a sentence, and the
    setting that it is about."""

    def __init__(self, code: str, message: str, field: str = "start_from") -> None:
        super().__init__(message)
        self.code, self.message, self.field = code, message, field


@dataclass(frozen=True)
class Facts:
    """What a checkpoint is: its family (`model_type`) and how people call it, its licence as its card states it (""
    where it states none), and the bytes of its weights."""

    family: str
    label: str
    license: str
    weight_bytes: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Name:
    """What a training is told to start from: a folder's name, or `owner`/`name` of a hub at a `revision`."""

    owner: str
    name: str
    revision: str = ""

    @property
    def is_on_hub(self) -> bool:
        return bool(self.owner)

    def __str__(self) -> str:
        path = f"{self.owner}/{self.name}" if self.owner else self.name
        return f"{path}@{self.revision}" if self.revision else path


def starts_of(task: str) -> bool:
    """Whether models of `task` can start from a checkpoint."""
    return task in FAMILIES


def read_name(text: str) -> Name:
    """Raises CheckpointRefused (bad_checkpoint_name) for what is neither a plain name nor owner/name[@revision]: no
    path leads out of where checkpoints lie."""
    path, _, revision = text.strip().partition("@")
    owner, _, name = path.rpartition("/")
    parts = [part for part in (owner, name) if part]
    is_plain = all(NAME.fullmatch(part) and ".." not in part for part in parts)
    is_known = not revision or (owner and REVISION.fullmatch(revision) and ".." not in revision)
    if not name or not is_plain or not is_known or ("/" in path and not owner):
        raise CheckpointRefused(
            "bad_checkpoint_name",
            f"{text.strip()[:80]!r} is no checkpoint: write the name of one of the site's folders, or owner/name of "
            "the hub, with @revision behind it where a certain one is meant.",
        )
    return Name(owner, name, revision)


def choose_files(names: Mapping[str, int], task: str, *, most_bytes: int) -> dict[str, int]:
    """Those files of a checkpoint, name to bytes, that a training of `task` reads. Raises CheckpointRefused (no_config,
    pickled_weights, no_weights, no_tokenizer, no_preprocessor, checkpoint_too_large)."""
    if CONFIG_FILE not in names:
        raise CheckpointRefused("no_config", f"There is no {CONFIG_FILE} in it, so it is no Hugging Face checkpoint.")
    weights = _weights(names)
    also = [name for name in (*ALSO_READ.get(task, ()), CARD_FILE) if name in names]
    kept = [CONFIG_FILE, *weights, *_reading(names, task), *also]
    chosen = {name: names[name] for name in kept}
    _check_sizes(chosen, most_bytes)
    return chosen


def _weights(names: Mapping[str, int]) -> list[str]:
    if WEIGHTS_FILE in names:
        return [WEIGHTS_FILE]
    shards = sorted(name for name in names if SHARD.fullmatch(name))
    if shards and WEIGHTS_INDEX in names:
        return [WEIGHTS_INDEX, *shards]
    if any(name.endswith(PICKLED) for name in names):
        raise CheckpointRefused(
            "pickled_weights",
            "Its weights are pickled, and a pickle can execute code when it is read. Choose a revision with "
            f"{WEIGHTS_FILE}, or save the model again with transformers' save_pretrained.",
        )
    raise CheckpointRefused("no_weights", f"There is no {WEIGHTS_FILE} in it.")


def _reading(names: Mapping[str, int], task: str) -> tuple[str, ...]:
    ways = READING[task]
    for files in ways:
        if all(name in names for name in files):
            return files
    usual = ways[0][0]
    raise CheckpointRefused(
        f"no_{usual.partition('_')[0].partition('.')[0]}",
        f"There is no {usual} in it. Load it once with transformers' {WRITERS[usual]} and save it again with "
        "save_pretrained, which writes that file.",
    )


def _check_sizes(files: Mapping[str, int], most_bytes: int) -> None:
    total = sum(files.values())
    if total > most_bytes:
        raise CheckpointRefused(
            "checkpoint_too_large",
            f"It takes {total / 1e9:.1f} GB, and checkpoints may take {most_bytes / 1e9:g} GB here "
            "(LEPTON_MAX_CHECKPOINT_BYTES).",
        )
    for name, size in files.items():
        if not name.endswith(".safetensors") and size > MOST_BYTES_OF_TEXT_FILES:
            raise CheckpointRefused("checkpoint_too_large", f"Its {name} is larger than 50 MB.")


def facts_of(config: bytes, card: bytes, weight_bytes: int, task: str) -> Facts:
    """What `config` (config.json) and `card` (README.md) say. Raises CheckpointRefused (damaged_config, foreign_code,
    unsupported_family)."""
    try:
        known = json.loads(config)
        family = known["model_type"]
        if not isinstance(family, str):
            raise TypeError(family)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointRefused("damaged_config", f"Its {CONFIG_FILE} names no model_type.") from error
    if any(key in known for key in CODE_KEYS):
        raise CheckpointRefused(
            "foreign_code", "It brings Python code of its own (auto_map), and code of others is not executed here."
        )
    if family not in FAMILIES[task]:
        raise CheckpointRefused(
            "unsupported_family",
            f"It is of the family {str(family)[:40]!r}. A model of this kind can start from: "
            f"{', '.join(FAMILIES[task].values())}.",
        )
    return Facts(family, FAMILIES[task][family], license_of(card), weight_bytes)


def license_of(card: bytes) -> str:
    """The licence in the front matter of a model card, "" where there is none."""
    text = card.decode("utf-8", "replace")
    if not text.startswith("---"):
        return ""
    found = LICENSE.search(text[3:].partition("\n---")[0])
    return found[1] if found else ""
