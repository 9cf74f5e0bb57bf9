"""What trainings of models that read once and write token by token have in common: what they are told while they learn,
what makes a text of them meanwhile, and their two graphs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workers.inference.beams import Search, search
from workers.inference.decoding import CachedDecoding
from workers.inference.writing import READER_FILE, WRITER_FILE
from workers.subwords import BEGIN, PADDING
from workers.training.export import export_graph
from workers.training.losses import Loss
from workers.training.text_data import Ragged
from workers.training.translation_models import Reading, Writing


def begun(targets: Ragged) -> Ragged:
    """What is known of a translation when each of its tokens is to be said: all before it."""
    return Ragged([np.append(np.int32(BEGIN), targets.row(number)[:-1]) for number in range(len(targets))])


def token_loss(smoothing: float, first_id: int = 0) -> Loss:
    """Cross-entropy of each token of the translations, over all of a batch alike: logits [N, T, V] of the ids from
    `first_id` on, targets [N, L] padded to any L >= T."""
    ignored = PADDING - first_id

    def mean(logits: Tensor, targets: Tensor) -> Tensor:
        wanted = targets[:, : logits.shape[1]].long().flatten() - first_id
        return F.cross_entropy(logits.flatten(0, 1), wanted, ignore_index=ignored, label_smoothing=smoothing)

    return Loss(mean, lambda targets: float((targets != PADDING).sum()))


def ids_of(array: np.ndarray, device: str = "cpu") -> Tensor:
    return torch.from_numpy(array).long().to(device)


@torch.no_grad()
def write_greedily(
    model: nn.Module, inputs: Tensor, limits: Sequence[int], settings: Search, prompt: Sequence[int]
) -> list[tuple[int, ...]]:
    """The most probable token after the other for each of what is to be read, with the model as it is."""
    model.eval()
    read = _arrays(model.memorise(inputs))
    decoding = CachedDecoding(torch_step(model, str(inputs.device)), *read, prompt)
    return [found.tokens for found in search(decoding, limits, replace(settings, beams=1))]


def torch_step(model: nn.Module, device: str) -> Callable[..., tuple[np.ndarray, ...]]:
    """`step` of the model for arrays."""

    @torch.no_grad()
    def step(*state: np.ndarray) -> tuple[np.ndarray, ...]:
        return _arrays(model.step(*(torch.from_numpy(array).to(device) for array in state)))

    return step


def _arrays(tensors: tuple[Tensor, ...]) -> tuple[np.ndarray, ...]:
    return tuple(tensor.float().cpu().numpy() for tensor in tensors)


@torch.no_grad()
def export_graphs(model: nn.Module, name: str, inputs: Tensor, written: Tensor, folder: Path) -> None:
    """Both graphs; that which reads has the input `name`, and that which writes is checked on what follows the first
    tokens of real texts. `model` and its inputs are on the CPU."""
    model.eval()
    rows, source, past = {0: "rows"}, {0: "rows", 3: "source"}, {0: "rows", 3: "written"}
    keys_and_values = {"source_keys": source, "source_values": source}
    axes = {name: {0: "rows", 1: "read"}, "mask": {0: "rows", 1: "source"}} | keys_and_values
    export_graph(
        Reading(model),
        {name: inputs},
        ("source_keys", "source_values", "mask"),
        axes,
        folder / READER_FILE,
        folds=False,
    )
    source_state = dict(zip(("source_keys", "source_values", "mask"), model.memorise(inputs), strict=True))
    keys = values = source_state["source_keys"][:, :, :, :0]
    for place in range(min(2, written.shape[1])):
        if place:
            _scores, keys, values = model.step(written[:, 0], keys, values, *source_state.values())
        state = {"tokens": written[:, place], "keys": keys, "values": values} | source_state
    axes |= {"tokens": rows, "keys": past, "values": past, "scores": rows, "new_keys": past, "new_values": past}
    export_graph(Writing(model), state, ("scores", "new_keys", "new_values"), axes, folder / WRITER_FILE, folds=False)
