"""Structured pruning: whole channels of layers and whole heads of attentions are removed.

Which go is decided within each group of channels that belong together, by the size of their weights (importance.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from workers.compression.methods.base import Data, answer, left_alone
from workers.compression.methods.graph import Group, find_groups, reason_to_keep
from workers.compression.methods.heads import Heads, find_heads, remove_heads
from workers.compression.methods.importance import channel_importance, head_importance
from workers.compression.methods.statistics import renew_statistics
from workers.compression.methods.trying import attempt, zeroed
from workers.contract import ProgramFailure


def prepare(model: nn.Module, step: Mapping[str, Any], data: Data) -> list[str]:
    """Make the model narrower by `step["amount"]` of each group's channels and of each attention's heads.

    Raises ProgramFailure (nothing_to_compress) where nothing can be removed.
    """
    amount, shape = step["amount"], answer(model, data.example).shape
    notes = left_alone(model, "keeps all its channels")
    attentions = find_heads(model)
    removed = [_narrow_heads(model, attention, amount, data, notes) for attention in attentions]
    closed = {layer for item in attentions for layer in item.makers}
    groups = _narrowable(model, data, closed, notes)
    scores = [channel_importance(group) for group in groups]  # all of the model as it was
    for group, score in zip(groups, scores, strict=True):
        removed.append(_narrow(model, group.renewed(), score, amount, data, shape, notes))
    if not any(removed):
        raise ProgramFailure(
            "nothing_to_compress",
            "No layer of this model has channels or heads that could be removed. " + " ".join(notes),
            hint="Use another method, such as low_rank or quantise.",
            blame="settings",
        )
    renew_statistics(model, data)
    return notes


def convert(model: nn.Module, step: Mapping[str, Any]) -> list[str]:
    """The model is an ordinary one already."""
    return []


def _narrowable(model: nn.Module, data: Data, closed: set[nn.Module], notes: list[str]) -> list[Group]:
    """The groups of which some channels may go; `notes` gets a sentence for each of the others."""
    groups = []
    for group in find_groups(model, data.example):
        if closed.intersection(group.makers):
            continue  # the heads of an attention, which go as a whole
        if reason := reason_to_keep(group, model):
            notes.append(f"{group.name} keeps its {group.count} channels: {reason}.")
        else:
            groups.append(group)
    return groups


def _narrow(
    model: nn.Module, group: Group, score: Tensor, amount: float, data: Data, shape: torch.Size, notes: list[str]
) -> int:
    """Remove the least important channels of `group`; returns how many."""
    block = group.count // group.blocks
    left = channels_left(block, amount)
    if left == block:
        return 0
    # Blocks lose the same places, so that the places are ranked by what all blocks together would lose.
    least = score.reshape(group.blocks, block).sum(dim=0).argsort(stable=True)[: block - left]
    gone = (least + block * torch.arange(group.blocks)[:, None]).flatten().sort().values
    wanted = None
    if not group.is_mixed:
        with zeroed([(item.layer.weight, _local_columns(item, gone)) for item in group.consumers]):
            wanted = answer(model, data.example)
    if attempt(model, data.example, lambda: group.remove(gone), wanted, shape):
        return len(gone)
    reason = "which of the weights after them take which could not be made out"
    notes.append(f"{group.name} keeps its {group.count} channels: {reason}.")
    return 0


def _local_columns(consumer: Any, gone: Tensor) -> Tensor:
    """The columns of the weight that belong to the channels `gone`."""
    columns = consumer.columns[torch.isin(consumer.channels, gone)]
    return (columns % consumer.layer.weight.shape[1]).unique()


def channels_left(count: int, amount: float) -> int:
    """How many of `count` channels stay: about 1 - `amount`, at least one, a multiple of 8 or 4 where they are many."""
    exact = count * (1 - amount)
    step = 8 if exact >= 32 else 4 if exact >= 12 else 1
    return min(count, max(1, round(exact / step) * step))


def _narrow_heads(model: nn.Module, attention: Heads, amount: float, data: Data, notes: list[str]) -> int:
    left = max(1, round(attention.count * (1 - amount)))
    if left == attention.count:
        return 0
    gone = head_importance(attention).argsort(stable=True)[: attention.count - left].sort().values
    if remove_heads(model, attention, gone, data.example):
        return len(gone)
    notes.append(f"{attention.name} keeps its {attention.count} heads: the order of its weights is not known.")
    return 0
