"""A classifier of texts on the body of a pretrained encoder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workers.contract import EventWriter, TrainSpec
from workers.pretrained.model_card import read_facts
from workers.texts import PADDING
from workers.training.pretrained.adapting import prepare, settle
from workers.training.pretrained.bodies import build_body, config_of, load_body
from workers.training.temperature import divide_head

__all__ = ["PretrainedText", "settle", "start"]

PAD_ANYWHERE = 0  # masked out, so that any token will do where a checkpoint has none of its own


class PretrainedText(nn.Module):
    """Ids [N, L] (a token's id plus one; 0 is padding) to logits [N, classes].

    The body's last layer is averaged over the tokens of a text (Reimers and Gurevych 2019, "Sentence-BERT", section 3),
    the mean is normalised, so that one learning rate suits all checkpoints, and a linear head stands on it.
    """

    def __init__(
        self, *, config: Mapping[str, Any], classes: int, dropout: float, body: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.body = body or build_body(config)
        padding = self.body.config.pad_token_id
        self.padding = PAD_ANYWHERE if padding is None else padding
        self.width = self.body.config.hidden_size
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.width, classes)

    def features(self, ids: Tensor) -> Tensor:
        """[N, width]"""
        is_token = ids != PADDING
        tokens = torch.where(is_token, ids - 1, self.padding).long()
        states = self.body(input_ids=tokens, attention_mask=is_token.long()).last_hidden_state
        shown = is_token.unsqueeze(2).to(states.dtype)
        mean = (states * shown).sum(dim=1) / shown.sum(dim=1).clamp(min=1)
        return F.layer_norm(mean, (self.width,))

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.dropout(self.features(ids)))

    def divide_logits(self, temperature: float) -> None:
        """All logits are divided by `temperature` from now on."""
        divide_head(self.head, temperature)


def start(spec: TrainSpec, classes: int, events: EventWriter) -> tuple[nn.Module, dict[str, Any]]:
    """The classifier on the checkpoint in `spec.start_dir`, ready to learn, and the arguments that make it again.
    Raises ProgramFailure."""
    folder, settings = Path(spec.start_dir), spec.hyperparameters
    facts = read_facts(folder, spec.task)
    body = load_body(folder)
    arguments = {"config": config_of(body), "classes": classes, "dropout": settings["dropout"]}
    model = PretrainedText(**arguments, body=body)
    events.log(f"Starting from {settings['start_from']} ({facts['label']}). {prepare(model, settings)}")
    return model, arguments
