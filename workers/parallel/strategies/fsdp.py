"""Fully sharded data parallel (FSDP2): each process holds a slice of every tensor and takes its rows of every batch."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, OffloadPolicy, fully_shard
from torch.distributed.tensor import DTensor

from workers.parallel.plan import FSDP
from workers.parallel.strategies.data_parallel import DataParallel
from workers.parallel.strategies.sharded import Sharded
from workers.parallel.synchronized import copy_structure, synchronize
from workers.training.batches import Batches
from workers.training.losses import Loss
from workers.training.state import AVERAGE, BEST, MODEL, OPTIMIZER, Pieces


class Slices(Pieces):
    """Tensors that are sliced along their first dimension."""

    def own(self, tensor: Tensor) -> Tensor:
        return tensor.to_local() if isinstance(tensor, DTensor) else tensor

    def like(self, reference: Tensor, own: Tensor) -> Tensor:
        if not isinstance(reference, DTensor):
            return own.to(reference.device)
        return DTensor.from_local(
            own.to(reference.device), reference.device_mesh, reference.placements, run_check=False,
            shape=reference.shape, stride=reference.stride(),
        )  # fmt: skip


class Fsdp(Sharded, DataParallel):
    """Weights, gradients, moments and averages are sliced; a layer is whole only while it computes.

    With bf16 it computes and gathers in 16 bits, while the slices and the sums of gradients stay in 32.
    """

    name = FSDP
    pieces = Slices()

    def prepare(
        self, model: nn.Module, batches: Batches, loss: Loss, hyperparameters: Mapping[str, Any], device: str
    ) -> Batches:
        self.mesh = init_device_mesh(torch.device(device).type, (self.plan.world_size,))
        batches = super().prepare(model, batches, loss, hyperparameters, device)
        self.sliced = {name for name, value in self.model.state_dict().items() if isinstance(value, DTensor)}
        return batches

    def _apply(self, model: nn.Module) -> nn.Module:
        share, sharded = self._share(), copy_structure(model)
        return self._slice(synchronize(sharded, share))

    def _slice(self, model: nn.Module) -> nn.Module:
        """Slice the layers that the model names, each by itself, and then what is left; in place."""
        precision = {} if self.precision is None else {"param_dtype": self.precision, "reduce_dtype": torch.float32}
        offload = CPUOffloadPolicy() if self.plan.cpu_offload and self.device_type != "cpu" else OffloadPolicy()
        for name in getattr(model, "layers", dict)():
            policy = MixedPrecisionPolicy(**precision)
            fully_shard(model.get_submodule(name), mesh=self.mesh, mp_policy=policy, offload_policy=offload)
        # Images of 0 to 255 would lose half of their levels in 16 bits before they are normalised.
        policy = MixedPrecisionPolicy(**precision, cast_forward_inputs=False)
        fully_shard(model, mesh=self.mesh, mp_policy=policy, offload_policy=offload, reshard_after_forward=True)
        return model

    def _autocast(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def _copy(self) -> nn.Module:
        return self._slice(synchronize(deepcopy(self.original), self.share))

    # State

    def export_state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        arrays, plain = super().export_state()
        return arrays, plain | {"sliced": [name for name in arrays if self._is_sliced(name)]}

    def part_of(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        size, rank = self.plan.world_size, self.processes.rank
        return {
            name: slice_of(value, rank, size) if value.ndim and self._is_sliced(name) else value
            for name, value in tensors.items()
        }

    def _is_sliced(self, name: str) -> bool:
        """Whether the part of the state called `name` is sliced: moments are as their parameter is."""
        kind, _, rest = name.partition(".")
        if kind + "." == OPTIMIZER:
            return rest.rsplit(".", 1)[1] != "step"
        return kind + "." in (MODEL, AVERAGE, BEST) and rest in self.sliced

    def _fused_best(self) -> dict[str, Tensor]:
        whole: dict[str, Tensor] = {}
        for name, value in self.best.items():
            full = value.full_tensor() if isinstance(value, DTensor) else value
            if self.processes.is_first:
                whole[name] = full.cpu()
        return whole


def slice_of(whole: Tensor, rank: int, size: int) -> Tensor:
    """The rows that process `rank` of `size` holds: ceil(rows / size) each, as long as there are any."""
    length = -(-len(whole) // size)
    return whole[rank * length : (rank + 1) * length]
