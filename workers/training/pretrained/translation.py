"""A translator that goes on from a pretrained checkpoint."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from transformers import AutoModelForSeq2SeqLM

from workers.contract import EventWriter, ProgramFailure, TrainSpec
from workers.pretrained.families import READING, SPECIAL_TOKENS_FILE, TOKENIZER_CONFIG_FILE, CheckpointRefused
from workers.pretrained.languages import check_told, read_texts
from workers.pretrained.model_card import damaged_checkpoint, read_facts
from workers.pretrained.pieces import Writing, read_writing
from workers.training.pretrained.adapting import prepare, settle
from workers.training.pretrained.bodies import load_body
from workers.training.pretrained.layers import keep_all_layers
from workers.training.pretrained.seq2seq import Seq2Seq

__all__ = ["read", "save", "settle", "start"]


def read(spec: TrainSpec) -> Writing:
    """How the checkpoint in `spec.start_dir` is asked. Raises ProgramFailure (damaged_checkpoint, and as
    `check_told` says)."""
    folder, settings = Path(spec.start_dir), spec.hyperparameters
    facts = read_facts(folder, spec.task)
    try:
        texts = read_texts({path.name: path.read_bytes() for path in folder.glob("*.json")})
        check_told(spec.task, facts["family"], texts, settings)
        return read_writing(folder, settings)
    except CheckpointRefused as error:
        raise ProgramFailure(error.code, error.message, blame="settings", field=error.field) from error
    except (OSError, KeyError, TypeError, ValueError, StopIteration) as error:
        raise damaged_checkpoint(f"{type(error).__name__}: {error}") from error


def start(spec: TrainSpec, writing: Writing, longest: int, events: EventWriter) -> tuple[Seq2Seq, dict[str, Any]]:
    """The translator, ready to learn, and what meta.json says that it is made from. Raises ProgramFailure."""
    settings = spec.hyperparameters
    facts = read_facts(Path(spec.start_dir), spec.task)
    model = Seq2Seq(keep_all_layers(load_body(Path(spec.start_dir), AutoModelForSeq2SeqLM)), writing.prompt)
    events.log(f"Starting from {settings['start_from']} ({facts['label']}). {prepare(model, settings)}")
    return model, {"longest": longest}


def save(model: Seq2Seq, spec: TrainSpec, folder: Path) -> None:
    """The weights and the tokenizer as a checkpoint of transformers, from which another training can start."""
    model.body.save_pretrained(folder)
    for name in {name for files in READING[spec.task] for name in files} | {TOKENIZER_CONFIG_FILE, SPECIAL_TOKENS_FILE}:
        if (Path(spec.start_dir) / name).exists():
            shutil.copyfile(Path(spec.start_dir) / name, folder / name)
