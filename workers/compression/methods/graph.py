"""Which channels of a model belong together: what must go when one of them goes.

The dependency graph is torch-pruning's (Fang et al. 2023, DepGraph), found by following one forward pass.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch_pruning
from torch import Tensor, nn
from torch_pruning.ops import OPTYPE

from workers.compression.methods.base import Inputs, reads_weights, tied_layers
from workers.contract import ProgramFailure

ROOTS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear, nn.Embedding)
CONSUMERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
MOST_NAMES = 3
NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)


@dataclass(frozen=True)
class Consumer:
    """A layer that takes the channels `columns` of its input from the channels `channels` of a group."""

    layer: nn.Module
    columns: Tensor
    channels: Tensor

    def column_sums(self, values: Tensor) -> Tensor:
        """`values` are shaped as the layer's weight [outputs, inputs, ...]; one sum for each of `columns`."""
        by_group = values.unflatten(0, (getattr(self.layer, "groups", 1), -1)).transpose(1, 2)
        return (
            by_group.flatten(2).sum(dim=2).flatten()[self.columns]
        )  # [groups, inputs / groups, outputs / groups, ...]


class Group:
    """Channels that can only go together, with all layers that make, pass on or take them.

    `name` is that of the layers that make them; `names` are those of all modules.
    """

    def __init__(self, found: Any, names: Mapping[nn.Module, str]) -> None:
        self._found, self._names = found, names
        makers = [names[module] for module in self.makers if isinstance(module, ROOTS) and not is_depthwise(module)]
        more = f" and {len(makers) - MOST_NAMES} more" if len(makers) > MOST_NAMES else ""
        self.name = ", ".join(makers[:MOST_NAMES]) + more
        self.root, self._remove = found[0].dep.target.module, found[0].dep.handler
        self.count = len(found[0].idxs)
        self.consumers = list(self._consumers())

    def _consumers(self) -> Iterator[Consumer]:
        for item in self._found:
            layer, graph = item.dep.target.module, self._found._DG
            is_taken = graph.is_in_channel_pruning_fn(item.dep.handler)
            if self.is_clear and is_taken and isinstance(layer, CONSUMERS) and not is_depthwise(layer):
                yield Consumer(layer, torch.tensor(item.idxs), torch.tensor(item.root_idxs))

    @property
    def is_clear(self) -> bool:
        """Whether the graph knows of each number in all layers to which channel it belongs."""
        graph = self._found._DG
        for item in self._found:
            layer = item.dep.target.module
            if isinstance(layer, (*CONSUMERS, *NORMS)):
                is_taken = graph.is_in_channel_pruning_fn(item.dep.handler) and isinstance(layer, CONSUMERS)
                size = graph.get_in_channels(layer) if is_taken else graph.get_out_channels(layer)
                if None in item.root_idxs or max(item.idxs) >= size or max(item.root_idxs) >= self.count:
                    return False
        return True

    @property
    def modules(self) -> list[Any]:
        """Everything that would change; parameters among them that belong to no layer of a known kind."""
        return [item.dep.target.module for item in self._found]

    def scales(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Of each layer that makes or scales these channels: the sum of squares of a channel's weights; channels."""
        graph = self._found._DG
        for item in self._found:
            layer = item.dep.target.module
            is_made = graph.is_out_channel_pruning_fn(item.dep.handler) and isinstance(layer, CONSUMERS)
            is_scaled = isinstance(layer, NORMS) and layer.weight is not None
            if is_made or is_scaled:
                rows = (layer.weight**2).flatten(1).sum(dim=1) if is_made else layer.weight.flatten() ** 2
                yield rows[torch.tensor(item.idxs)], torch.tensor(item.root_idxs)

    def takers(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Of each layer that takes these channels: the sum of squares of the weights of an input; channels."""
        for consumer in self.consumers:
            yield consumer.column_sums(consumer.layer.weight**2), consumer.channels

    @property
    def blocks(self) -> int:
        """Into how many equal blocks the channels fall, of which each must lose as many, at the same places."""
        counts = [1]
        for module in self.modules:
            if isinstance(module, CONSUMERS) and not is_depthwise(module):
                counts.append(getattr(module, "groups", 1))
            elif isinstance(module, nn.GroupNorm):
                counts.append(module.num_groups)
        return math.lcm(*counts)

    @property
    def is_mixed(self) -> bool:
        """Whether a normalisation looks over these channels, so that those that stay notice what goes."""
        return any(isinstance(module, (nn.LayerNorm, nn.GroupNorm)) for module in self.modules)

    @property
    def makers(self) -> list[Any]:
        """What makes these channels, or passes them on."""
        graph = self._found._DG
        return [item.dep.target.module for item in self._found if graph.is_out_channel_pruning_fn(item.dep.handler)]

    def reaches(self, kind: str) -> bool:
        return any(kind in _operation(item.dep.target) for item in self._found)

    def reaches_output(self) -> bool:
        graph = self._found._DG
        return any(
            item.dep.target.type == OPTYPE.OUTPUT
            or (graph.is_out_channel_pruning_fn(item.dep.handler) and not item.dep.target.outputs)
            for item in self._found
        )

    def renewed(self) -> Group:
        """The same channels, where they stand now that others have been removed."""
        return Group(self._of(range(self.count)), self._names)

    def remove(self, channels: Tensor) -> None:
        """Raises whatever the layers raise where they cannot."""
        self._of(channels.tolist()).prune(record_history=False)

    def _of(self, channels: Sequence[int]) -> Any:
        return self._found._DG.get_pruning_group(self.root, self._remove, list(channels))


def find_groups(model: nn.Module, example: Inputs) -> list[Group]:
    """All groups of channels of `model` but those of its answer.

    Raises ProgramFailure (unsupported_method) where its computation cannot be followed.
    """
    with barriers(model), warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("ignore")
        modes = [(module, module.training) for module in model.modules()]
        try:
            graph = torch_pruning.DependencyGraph().build_dependency(model, example, verbose=False)
        except Exception as error:  # the library raises whatever its own steps over an unknown operation do
            raise _unclear() from error
        for module, mode in modes:
            module.training = mode
    names = {module: name for name, module in model.named_modules()}
    found = [Group(item, names) for item in graph.get_all_groups(root_module_types=ROOTS)]
    return [group for group in found if not group.reaches_output()]


def _unclear() -> ProgramFailure:
    message = "Which channels of this model belong together could not be made out, so that none can be removed."
    hint = "Use another method, such as distil, low_rank or quantise."
    return ProgramFailure("unsupported_method", message, hint=hint, blame="settings")


def reason_to_keep(group: Group, model: nn.Module) -> str:
    """Why the channels of `group` must all stay; empty where some may go."""
    if group.reaches(Barrier.__name__):
        return "they enter or leave a layer that cannot be narrowed"
    tied, names = tied_layers(model), {module: name for name, module in model.named_modules()}
    if shared := {names[item] for item in group.modules if names.get(item) in tied}:
        return f"{' and '.join(sorted(shared))} share weights with another layer"
    if not group.is_clear:
        return "which of the weights after them take which could not be made out"
    if group.count % group.blocks:
        return "its groups cannot be narrowed alike"
    return "" if group.consumers else "no layer was seen to take them"


def is_depthwise(layer: nn.Module) -> bool:
    return getattr(layer, "groups", 1) == getattr(layer, "out_channels", 1) > 1


def _operation(node: Any) -> str:
    return node.grad_fn.name() if hasattr(node.grad_fn, "name") else ""


class Barrier(torch.autograd.Function):
    """Stands in the graph for a layer as a whole: its outputs come from its inputs, nobody sees how."""

    @staticmethod
    def forward(ctx: Any, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(item.clone() for item in tensors[:count])

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[None, ...]:
        raise NotImplementedError("The graph is only looked at.")


@contextlib.contextmanager
def barriers(model: nn.Module) -> Iterator[None]:
    """Within, the graph of a forward pass does not show the insides of recurrent and of closed attention layers."""
    closed = [module for module in model.modules() if reads_weights(module)]
    hooks = [module.register_forward_hook(_hide, with_kwargs=True) for module in closed]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _hide(module: nn.Module, inputs: Any, named: dict[str, Any], outputs: Any) -> Any:
    given = [item for item in _tensors((inputs, tuple(named.values()))) if item.requires_grad]
    made = [item.detach() for item in _tensors(outputs) if item.is_floating_point()]
    hidden = iter(Barrier.apply(len(made), *made, *given))
    return _filled(outputs, hidden)


def _tensors(values: Any) -> list[Tensor]:
    if isinstance(values, Tensor):
        return [values]
    return [tensor for item in values for tensor in _tensors(item)] if isinstance(values, (tuple, list)) else []


def _filled(values: Any, tensors: Iterator[Tensor]) -> Any:
    """`values` with its floating point tensors, in order, replaced by `tensors`."""
    if isinstance(values, Tensor):
        return next(tensors) if values.is_floating_point() else values
    if not isinstance(values, (tuple, list)):
        return values
    items = [_filled(item, tensors) for item in values]
    return type(values)(*items) if hasattr(values, "_fields") else type(values)(items)
