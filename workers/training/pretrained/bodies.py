"""The body of a pretrained model: all but what it was pretrained to answer. Nothing of a checkpoint is executed: the
code is that of transformers, and weights come from safetensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModel
from transformers.utils import logging

from workers.pretrained.model_card import damaged_checkpoint

POOLER, ACTIVATION = "pooler", "pooler_activation"
OF_THE_MACHINE = ("_name_or_path", "transformers_version")

logging.set_verbosity_error()
logging.disable_progress_bar()


def load_body(folder: Path, kind: Any = AutoModel, unused: Sequence[str] = ()) -> nn.Module:
    """The body of the checkpoint in `folder` with its weights, in 32 bits; `kind` is the class of transformers that
    says how much of it, and weights called `unused` may be missing. Raises ProgramFailure damaged_checkpoint."""
    try:
        body, told = kind.from_pretrained(
            folder,
            dtype=torch.float32,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    except Exception as error:  # transformers raises what it and a dozen libraries below it think of
        raise damaged_checkpoint(str(error)) from error
    bare = without_unused(body)
    missing = sorted(set(told["missing_keys"]) & set(bare.state_dict()) - set(unused))
    if missing:
        raise damaged_checkpoint(f"it has no {missing[0]} and {len(missing) - 1} others")
    return bare


def build_body(config: Mapping[str, Any]) -> nn.Module:
    """An untrained body as `config_of` described it. Raises KeyError and ValueError where that is none."""
    known = dict(config)
    described = AutoConfig.for_model(known.pop("model_type"), **known)
    return without_unused(AutoModel.from_config(described, trust_remote_code=False))


def config_of(body: nn.Module) -> dict[str, Any]:
    """All that `build_body` needs, as JSON has it."""
    known = body.config.to_dict()
    return {name: value for name, value in known.items() if name not in OF_THE_MACHINE}


def without_unused(body: nn.Module) -> nn.Module:
    """Without a pooler that has weights: it belongs to what was pretrained, and nothing here reads what it says."""
    pooler = getattr(body, POOLER, None)
    if isinstance(pooler, nn.Module) and any(True for _ in pooler.parameters()):
        setattr(body, POOLER, None)
        if hasattr(body, ACTIVATION):
            setattr(body, ACTIVATION, None)
    return body
