"""What a training says of the checkpoint that it started from. Pure Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workers.contract import ProgramFailure, TrainSpec
from workers.pretrained.families import CARD_FILE, CONFIG_FILE, CheckpointRefused, facts_of


def describe_start(spec: TrainSpec) -> dict[str, Any]:
    """Its part of meta.json: {"start": {"name", "family", "label", "license", "weight_bytes", "fine_tuning"}}, and {}
    for a training from scratch."""
    if not spec.start_dir:
        return {}
    settings = spec.hyperparameters
    facts = read_facts(Path(spec.start_dir), spec.task)
    return {"start": {"name": settings["start_from"], **facts, "fine_tuning": settings["fine_tuning"]}}


def read_facts(folder: Path, task: str) -> dict[str, Any]:
    """Raises ProgramFailure with the code of a CheckpointRefused, and damaged_checkpoint."""
    card = folder / CARD_FILE
    try:
        weights = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
        found = facts_of(
            (folder / CONFIG_FILE).read_bytes(), card.read_bytes() if card.exists() else b"", weights, task
        )
    except OSError as error:
        raise damaged_checkpoint(str(error)) from error
    except CheckpointRefused as error:
        raise ProgramFailure(error.code, error.message, blame="settings", field="start_from") from error
    return found.as_dict()


def damaged_checkpoint(what: str) -> ProgramFailure:
    message = f"The checkpoint cannot be loaded: {what[:300]}."
    return ProgramFailure(
        "damaged_checkpoint", message, hint="Choose another checkpoint.", blame="settings", field="start_from"
    )
