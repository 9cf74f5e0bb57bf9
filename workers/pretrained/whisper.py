"""How a checkpoint of Whisper is asked to write what is said (Radford et al. 2023, "Robust Speech Recognition via
Large-Scale Weak Supervision", section 2.3). Needs tokenizers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workers.pretrained.families import CONFIG_FILE
from workers.pretrained.languages import SPEECH_TASK, SPOKEN, read_texts, tokens_of
from workers.pretrained.pieces import SHIFT, TARGET_SIDE, CheckpointPieces, Table, Writing

START, NO_TIMES = "<|startoftranscript|>", "<|notimestamps|>"


def read_whisper(folder: Path, settings: Mapping[str, Any]) -> Writing:
    """How the checkpoint in `folder` is asked for what `settings` say of the language, which were checked. It writes no
    times. Raises OSError, KeyError and ValueError where its files do not say it."""
    config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    texts = read_texts({path.name: path.read_bytes() for path in folder.glob("*.json")})
    table = Table.load(folder, TARGET_SIDE)
    names = [START]
    if settings[SPOKEN]:
        names += [tokens_of("whisper", texts)[settings[SPOKEN]], f"<|{settings[SPEECH_TASK]}|>"]
    prompt = [table.id_of(name) for name in [*names, NO_TIMES]]
    if None in prompt:
        raise ValueError(f"its tokenizer has no token {[*names, NO_TIMES][prompt.index(None)]}")
    end = config["eos_token_id"]
    # All that is no text stands behind the end; it knows more ids than its tokenizer has names for.
    never = {*table.special_ids(), *range(end + 1, config["vocab_size"])} - {end}
    pieces = CheckpointPieces(table, before=" ", last=(end,))
    return Writing(
        CheckpointPieces(table),
        pieces,
        tuple(number + SHIFT for number in prompt),
        end + SHIFT,
        (0, *sorted(number + SHIFT for number in never)),
        config["max_target_positions"] - len(prompt),
    )
