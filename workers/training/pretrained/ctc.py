"""A recogniser on the body of a pretrained encoder of speech, with a head that says a character, or the blank, for each
moment (connectionist temporal classification, as in Baevski et al. 2020, "wav2vec 2.0", section 3.3)."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCTC

from workers.contract import EventWriter, TrainSpec
from workers.inference.ctc import BLANK
from workers.inference.hearing import LOUDEST, Waves
from workers.pretrained.families import CONFIG_FILE, PREPROCESSOR_FILE, VOCABULARY_FILE
from workers.pretrained.model_card import damaged_checkpoint, read_facts
from workers.training.losses import SILENT
from workers.training.pretrained.adapting import prepare, settle
from workers.training.pretrained.bodies import load_body
from workers.training.pretrained.layers import keep_all_layers

__all__ = ["Probabilities", "hearing_of", "save", "settle", "start"]

USUAL_RATE = 16_000
LEAST_VARIANCE = 1e-7
HEAD = "lm_head"
PAD, WORDS_APART, UNKNOWN = "<pad>", "|", "<unk>"  # as tokenizers of Wav2Vec2 have them
UNUSED = ("masked_spec_embed",)  # stands in for what is hidden in pretraining


class CtcNetwork(nn.Module):
    """Samples [N, S] (int16 or float, to 32,767) of `lengths` [N] to logits [N, T, outputs].

    `normalises` says whether a recording is brought to mean 0 and variance 1 first, and `hides` whether what is behind
    its end is kept from the body; both as the checkpoint was trained. Behind a recording's end the logits say nothing
    but the blank.
    """

    def __init__(self, body: nn.Module, outputs: int, *, dropout: float, normalises: bool, hides: bool) -> None:
        super().__init__()
        self.body, self.dropout = body, nn.Dropout(dropout)
        self.head = nn.Linear(body.config.hidden_size, outputs)
        self.normalises, self.hides = normalises, hides

    def forward(self, samples: Tensor, lengths: Tensor) -> Tensor:
        kept = torch.arange(samples.shape[1], device=samples.device) < lengths[:, None]
        sounds = self._scaled(samples.float() / LOUDEST, kept)
        states = self.body(sounds, attention_mask=kept.long() if self.hides else None).last_hidden_state
        logits = self.head(self.dropout(states))
        answered = self.answered(lengths)
        is_heard = torch.arange(logits.shape[1], device=samples.device) < answered[:, None]
        silent = torch.full_like(logits[:1, :1], SILENT)
        silent[..., BLANK] = 0.0
        return torch.where(is_heard[:, :, None], logits, silent)

    def whole(self, samples: Tensor) -> Tensor:
        """The same for recordings [N, S] without anything behind them."""
        sounds = self._scaled(samples.float() / LOUDEST, torch.ones_like(samples, dtype=torch.bool))
        return self.head(self.body(sounds).last_hidden_state)

    def answered(self, lengths: Tensor) -> Tensor:
        """How many moments are answered of so many samples."""
        config = self.body.config
        for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
            lengths = torch.div(lengths - kernel, stride, rounding_mode="floor") + 1
        return lengths.clamp(min=0)

    def _scaled(self, sounds: Tensor, kept: Tensor) -> Tensor:
        weight = kept.to(sounds.dtype)
        if self.normalises:
            count = weight.sum(dim=1, keepdim=True)
            mean = (sounds * weight).sum(dim=1, keepdim=True) / count
            variance = ((sounds - mean).square() * weight).sum(dim=1, keepdim=True) / count
            sounds = (sounds - mean) / torch.sqrt(variance + LEAST_VARIANCE)
        return sounds * weight


class Probabilities(nn.Module):
    """What is exported: the probability [N, T, outputs] of each character, of recordings of one length."""

    def __init__(self, network: CtcNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, samples: Tensor) -> Tensor:
        return self.network.whole(samples).softmax(dim=2)


def hearing_of(spec: TrainSpec) -> Waves:
    """How the checkpoint in `spec.start_dir` hears. Raises ProgramFailure."""
    folder = Path(spec.start_dir)
    read_facts(folder, spec.task)
    config, asked = _read(folder, CONFIG_FILE), _read(folder, PREPROCESSOR_FILE)
    rate, strides = asked.get("sampling_rate", USUAL_RATE), config.get("conv_stride") or _usual(config)
    if config.get("add_adapter"):
        raise damaged_checkpoint("it has layers behind its encoder that shorten what it hears (add_adapter)")
    if not isinstance(rate, int) or not 4_000 <= rate <= 48_000:
        raise damaged_checkpoint(f"{PREPROCESSOR_FILE} names no usual sampling_rate")
    return Waves(rate, math.prod(strides))


def _usual(config: Mapping[str, Any]) -> Sequence[int]:
    return AutoConfig.for_model(config["model_type"]).conv_stride


def start(spec: TrainSpec, alphabet: Sequence[str], events: EventWriter) -> tuple[CtcNetwork, dict[str, Any]]:
    """The recogniser, ready to learn, and what meta.json says that it is made from. Of a checkpoint that writes
    already, what it knows of the letters of `alphabet` is kept. Raises ProgramFailure."""
    folder, settings = Path(spec.start_dir), spec.hyperparameters
    facts, asked = read_facts(folder, spec.task), _read(folder, PREPROCESSOR_FILE)
    body = keep_all_layers(load_body(folder, unused=UNUSED))
    body.config.apply_spec_augment = False  # numpy's own random numbers, which no checkpoint of a training keeps
    arguments = {
        "dropout": settings["dropout"],
        "normalises": bool(asked.get("do_normalize", True)),
        "hides": bool(asked.get("return_attention_mask", False)),
    }
    model = CtcNetwork(body, len(alphabet) + 1, **arguments)
    known = take_over(model, folder, alphabet)
    sentence = prepare(model, settings)
    if hasattr(body, "freeze_feature_encoder"):
        body.freeze_feature_encoder()
    events.log(f"Starting from {settings['start_from']} ({facts['label']}). {sentence}")
    events.log(f"It writes {known} of {len(alphabet)} characters already.")
    return model, arguments


def take_over(model: CtcNetwork, folder: Path, alphabet: Sequence[str]) -> int:
    """Put the rows of the checkpoint's own head into the model's, where that has them; how many letters it knew."""
    weight, bias = _head_of(folder)
    names = _read(folder, VOCABULARY_FILE) if (folder / VOCABULARY_FILE).exists() else {}
    rows = {name: row for name, row in names.items() if isinstance(row, int) and 0 <= row < len(weight)}
    padding = model.body.config.pad_token_id
    if not rows or weight.shape[1] != model.head.in_features or padding is None or padding >= len(weight):
        return 0
    found = {BLANK: padding}
    for place, letter in enumerate(alphabet, 1):
        ways = (WORDS_APART, letter) if letter == " " else (letter, letter.upper(), letter.lower())
        row = next((rows[way] for way in ways if way in rows), None)
        if row is not None:
            found[place] = row
    with torch.no_grad():
        for place, row in found.items():
            model.head.weight[place], model.head.bias[place] = weight[row], bias[row]
    return len(found) - 1


def _head_of(folder: Path) -> tuple[Tensor, Tensor]:
    """Weight [V, width] and bias [V] of a head of CTC; of no rows where there is none."""
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, "pt") as file:
                if {f"{HEAD}.weight", f"{HEAD}.bias"} <= set(file.keys()):
                    return file.get_tensor(f"{HEAD}.weight").float(), file.get_tensor(f"{HEAD}.bias").float()
        except SafetensorError as error:
            raise damaged_checkpoint(str(error)) from error
    return torch.zeros(0, 0), torch.zeros(0)


def save(model: CtcNetwork, alphabet: Sequence[str], spec: TrainSpec, folder: Path) -> None:
    """A checkpoint of transformers that writes these letters, from which another training can start."""
    config = model.body.config
    config.vocab_size, config.pad_token_id = model.head.out_features, BLANK
    written = AutoModelForCTC.from_config(config)
    setattr(written, written.base_model_prefix, model.body)
    written.lm_head = model.head
    written.save_pretrained(folder)
    shutil.copyfile(Path(spec.start_dir) / PREPROCESSOR_FILE, folder / PREPROCESSOR_FILE)
    names = {WORDS_APART if letter == " " else letter: place for place, letter in enumerate(alphabet, 1)}
    _write(folder / VOCABULARY_FILE, {PAD: BLANK} | names)
    tokenizer = {"tokenizer_class": "Wav2Vec2CTCTokenizer", "pad_token": PAD, "word_delimiter_token": WORDS_APART,
                 "unk_token": UNKNOWN, "bos_token": None, "eos_token": None, "do_lower_case": False}  # fmt: skip
    _write(folder / "tokenizer_config.json", tokenizer)


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")


def _read(folder: Path, name: str) -> dict[str, Any]:
    try:
        found = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise damaged_checkpoint(f"{name}: {error}") from error
    if not isinstance(found, dict):
        raise damaged_checkpoint(f"{name} is no object")
    return found
